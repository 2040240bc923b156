"""`python -m demo N`: the command line, and the summary of a run."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    sys.exit("demo: This runs on Linux and macOS. On Windows, run it in WSL.")

import argparse
import math
import signal
from contextlib import ExitStack, nullcontext
from typing import TYPE_CHECKING

from rich.console import Console

from demo.board import Board
from demo.cluster import Cluster
from demo.director import Director
from demo.keys import has_keys, pressed_keys
from demo.lines import Lines
from demo.processes import ProcessError
from demo.run import Run

if TYPE_CHECKING:
    from collections.abc import Callable

    from demo.director import View

# The demo compares the promises with one search, which returns at most 100 of them.
LARGEST_EVERYWHERE = 50
# The proxy delays a step twice, on its way to the server and back, and the SDK waits for 5 s.
LONGEST_HOLD = 2


def main() -> int:
    """Run the demo.

    Returns:
        The exit code.
    """
    args = _parse_arguments()
    sys.set_int_max_str_digits(0)
    for number in (signal.SIGTERM, signal.SIGHUP):  # they stop the demo as Ctrl-C does
        signal.signal(number, signal.default_int_handler)
    try:
        return _command(args)(args)
    except KeyboardInterrupt:
        print("demo: Stopped. It left no processes or files behind.", file=sys.stderr)
        return 130
    except ProcessError as e:
        print(f"demo: {e}", file=sys.stderr)
        return 1
    except OSError as e:
        print(f"demo: {f'{e.filename}: {e.strerror}' if e.filename else e}", file=sys.stderr)
        return 1


def _command(args: argparse.Namespace) -> Callable[[argparse.Namespace], int]:
    if not args.crash_everywhere and not args.point:
        return _run
    # The proxy takes a while to load, and most runs do not need it.
    from demo.crashes.commands import crash_at_point, crash_everywhere  # noqa: PLC0415

    return crash_everywhere if args.crash_everywhere else crash_at_point


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m demo",
        description="Compute the factorial of N on workers that call each other through a "
        "durable server, and show which worker runs which call.",
    )
    parser.add_argument("n", metavar="N", type=_number, help="the number, from 0 to 10000")
    parser.add_argument(
        "--workers", type=_positive, default=3, help="how many workers (default: 3)"
    )
    parser.add_argument(
        "--pace",
        type=_seconds,
        default=0.2,
        metavar="SECONDS",
        help="how long each call waits before it calls the next one; with --point, how long each "
        "step is delayed (default: 0.2)",
    )
    parser.add_argument(
        "--kill",
        nargs="?",
        const="worker",
        type=_victim,
        metavar="server",
        help="in the middle of the descent, `kill -9` the worker with the most unfinished calls; "
        "with `server`, kill and restart the server instead",
    )
    parser.add_argument(
        "--restart", action="store_true", help="replace each killed worker with a new one"
    )
    parser.add_argument(
        "--plain", action="store_true", help="print lines instead of the live board"
    )
    parser.add_argument(
        "--resonate",
        metavar="BINARY",
        help="use this real legacy Resonate server instead of devserver",
    )
    parser.add_argument(
        "--crash-everywhere",
        action="store_true",
        help="run the recursion once for each step of the protocol and each kind of crash, kill "
        "processes at exactly that step, and check every result",
    )
    parser.add_argument(
        "--point",
        metavar="STEP",
        help="run the recursion slowly, and kill a process at this step, like "
        "`resolve factorial-2`; --crash-everywhere lists all steps",
    )
    parser.add_argument(
        "--victim",
        choices=["worker", "server", "both", "client"],
        default="worker",
        help="which process to kill at --point (default: the worker that takes part in the step)",
    )
    parser.add_argument(
        "--after",
        action="store_true",
        help="kill the process after the server has carried out the request, but before its answer "
        "arrives (default: before the request reaches the server)",
    )
    args = parser.parse_args()
    if args.point and args.pace > LONGEST_HOLD:
        parser.error(f"--point: --pace must be from 0 to {LONGEST_HOLD} seconds")
    if args.crash_everywhere and args.n > LARGEST_EVERYWHERE:
        parser.error(f"--crash-everywhere: N must be from 0 to {LARGEST_EVERYWHERE}")
    if args.kill == "worker" and args.workers == 1 and not args.restart:
        parser.error(
            "--kill needs another worker that can take over: add --restart, or more --workers"
        )
    return args


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a non-negative integer, not {text!r}")
    return int(text)


def _number(text: str) -> int:
    if _natural(text) > 10_000:
        raise argparse.ArgumentTypeError("must be from 0 to 10000")
    return int(text)


def _positive(text: str) -> int:
    if _natural(text) == 0:
        raise argparse.ArgumentTypeError("must be at least 1")
    return int(text)


def _victim(text: str) -> str:
    if text not in {"worker", "server"}:
        hint = "; write N before --kill" if text.isdecimal() else ""
        raise argparse.ArgumentTypeError(f"must be worker or server, not {text!r}{hint}")
    return text


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"must be from 0 to 3600 seconds, not {text!r}")
    return seconds


def _run(args: argparse.Namespace) -> int:
    console = Console(highlight=False)
    run = Run(args.n)
    director = Director(run, args.pace, args.kill, restart=args.restart)
    with Cluster(args.resonate, director.line) as cluster, ExitStack() as screen:
        has_board = not args.plain and sys.stdout.isatty() and console.is_interactive
        with console.status("Starting the workers") if has_board else nullcontext():
            client = director.start(cluster, args.workers, args.n)
        view: View = Lines(run, console)
        if has_board:
            keys = ""
            if has_keys():
                screen.enter_context(pressed_keys(director.key))
                keys = "keys: k kills a worker, s restarts the server, q quits"
            view = screen.enter_context(
                Board(run, console, lambda: director.clock, keys, cluster.page)
            )
        director.follow(cluster, client, view)
        took = director.clock
        answer = client.output[-1:] if client.wait() == 0 else []
        screen.close()
        for worker in cluster.workers:
            worker.stop()
    expected = f"Result: {math.factorial(args.n)}"
    if answer != [expected]:
        raise ProcessError("the client did not print the right answer")
    for line in [*_recovery(run, args.kill), _shares(run, took)]:
        console.print(line, soft_wrap=not console.is_terminal)
    console.print(f"The result equals Python's math.factorial({args.n}):")
    console.print(expected, soft_wrap=True)
    return 0


def _recovery(run: Run, kill: str | None) -> list[str]:
    """Describe the recovery from the kills."""
    if not run.kills:
        return ["Nothing was killed, because the run finished too soon."] if kill else []
    survivors: dict[str, list[int]] = {}
    for attempt in run.takeovers:
        survivors.setdefault(attempt.worker.name, []).append(attempt.n)
    takeovers = [
        f"{name} took over {', '.join(f'factorial({n})' for n in sorted(calls, reverse=True))}."
        for name, calls in survivors.items()
    ]
    again = len(run.computed_again)
    return [*takeovers, f"{again or 'None'} of the {run.calls} results had to be computed again."]


def _shares(run: Run, took: float) -> str:
    shares = [
        f"{worker.name} ran {len(worker.attempts)} call{'' if len(worker.attempts) == 1 else 's'}"
        for worker in run.workers
    ]
    return f"{', '.join(shares)}. The client ran for {took:.1f} s."


if __name__ == "__main__":
    sys.exit(main())
