"""`python -m demo N`: the command line, and what is shown of a run."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    sys.exit("demo: This runs on Linux and macOS. On Windows, run it in WSL.")

import argparse
import math
import shlex
import signal
from contextlib import ExitStack, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from cluster import Cluster, ProcessError
from demo import facts
from demo.board import Board
from demo.director import Director
from demo.keys import has_keys, pressed_keys
from demo.lines import Lines
from demo.run import Run

if TYPE_CHECKING:
    from collections.abc import Callable

    from demo.director import View

# A search, by which the promises are compared, finds 100 of them at most.
LARGEST_EVERYWHERE = 50
# A step is held on its way to the server and on its way back, and the SDK waits for 5 s.
LONGEST_HOLD = 2


def main() -> int:
    """Run the demo.

    Returns:
        The exit code.
    """
    args = _parse_arguments()
    sys.set_int_max_str_digits(0)
    for number in (signal.SIGTERM, signal.SIGHUP):  # they end it as Ctrl-C does
        signal.signal(number, signal.default_int_handler)
    try:
        return _command(args)(args)
    except KeyboardInterrupt:
        print("demo: stopped; no process and no file is left", file=sys.stderr)
        return 130
    except ProcessError as e:
        print(f"demo: {e}", file=sys.stderr)
        return 1
    except OSError as e:
        print(f"demo: {e.filename}: {e.strerror}", file=sys.stderr)
        return 1


def _command(args: argparse.Namespace) -> Callable[[argparse.Namespace], int]:
    if not args.crash_everywhere and not args.point:
        return _run
    # The proxy takes a while to load, and most runs do not need it.
    from demo.crash_commands import crash_at_point, crash_everywhere  # noqa: PLC0415

    return crash_everywhere if args.crash_everywhere else crash_at_point


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m demo",
        description="Compute the factorial of N by workers that call each other through a "
        "durable server, and show which worker does what.",
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
        help="how long each call waits before it recurses, or with --point, how long each step "
        "takes on its way (default: 0.2)",
    )
    parser.add_argument(
        "--kill",
        nargs="?",
        const="worker",
        type=_victim,
        metavar="server",
        help="in the middle of the descent, `kill -9` the worker with the most unfinished calls; "
        "with `server`, kill the server instead and start it again on the same data",
    )
    parser.add_argument(
        "--restart", action="store_true", help="start another worker for each one that is killed"
    )
    parser.add_argument(
        "--plain", action="store_true", help="print lines instead of the live board"
    )
    parser.add_argument(
        "--plot",
        type=_picture,
        metavar="FILE",
        help="draw the run as a picture, timeline.svg or timeline.png",
    )
    parser.add_argument(
        "--resonate",
        metavar="BINARY",
        help="a real legacy Resonate server to use instead of the devserver",
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
        help="run the recursion slowly, and kill at one step, like `resolve factorial-2`; the "
        "table of --crash-everywhere lists them all",
    )
    parser.add_argument(
        "--victim",
        choices=["worker", "server", "both", "client"],
        default="worker",
        help="which process is killed at --point (default: the worker of that step)",
    )
    parser.add_argument(
        "--after",
        action="store_true",
        help="kill at --point after the server has carried out the request and before its answer "
        "arrives, not before the request reaches the server",
    )
    args = parser.parse_args()
    if args.point and args.pace > LONGEST_HOLD:
        parser.error(f"--point: --pace must be from 0 to {LONGEST_HOLD} seconds")
    if args.crash_everywhere and args.n > LARGEST_EVERYWHERE:
        parser.error(f"--crash-everywhere: N must be from 0 to {LARGEST_EVERYWHERE}")
    if args.kill == "worker" and args.workers == 1 and not args.restart:
        parser.error("a killed worker needs another one: add --restart, or more --workers")
    if args.plot and args.resonate:
        parser.error("--plot needs the devserver: the real server does not record attempts")
    if args.plot and find_spec("matplotlib") is None:
        command = f"uv run --group plot python -m demo {shlex.join(sys.argv[1:])}"
        parser.error(f"--plot needs Matplotlib, which is not installed. Run: {command}")
    return args


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 up")
    return int(text)


def _number(text: str) -> int:
    if _natural(text) > 10_000:
        raise argparse.ArgumentTypeError("at most 10000: all results of a run are kept")
    return int(text)


def _positive(text: str) -> int:
    if _natural(text) == 0:
        raise argparse.ArgumentTypeError("at least one is needed")
    return int(text)


def _victim(text: str) -> str:
    if text not in {"worker", "server"}:
        raise argparse.ArgumentTypeError(f"{text!r} is neither worker nor server")
    return text


def _picture(text: str) -> Path:
    path = Path(text)
    if path.suffix not in {".svg", ".png"}:
        raise argparse.ArgumentTypeError(f"{text!r} ends neither in .svg nor in .png")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {str(path.parent)!r}")
    return path


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= 3600:
        raise argparse.ArgumentTypeError("must be from 0 to 3600 seconds")
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
                keys = "keys: k kills a worker, s kills the server and starts it again, q stops"
            view = screen.enter_context(
                Board(run, console, lambda: director.clock, keys, cluster.page)
            )
        director.follow(cluster, client, view)
        took = director.clock
        answer = client.output[-1:] if client.wait() == 0 else []
        found = facts.read(cluster.url) if args.plot else None
        screen.close()
        for worker in cluster.workers:
            worker.stop()
    expected = f"Result: {math.factorial(args.n)}"
    if answer != [expected]:
        raise ProcessError("the client did not print the right answer")
    if found:
        # Matplotlib takes a second to load, which nobody should wait for who draws nothing.
        from demo.timeline import draw  # noqa: PLC0415

        draw(found, run, args.plot)
        console.print(f"Drawn: {args.plot}", soft_wrap=True)
    for line in [*_recovery(run, args.kill), _shares(run, took)]:
        console.print(line, soft_wrap=not console.is_terminal)
    console.print(f"The result equals Python's math.factorial({args.n}):")
    console.print(expected, soft_wrap=True)
    return 0


def _recovery(run: Run, kill: str | None) -> list[str]:
    """Say what a kill has cost."""
    if not run.kills:
        return ["Nothing was killed: the run finished too soon."] if kill else []
    survivors: dict[str, list[int]] = {}
    for attempt in run.takeovers:
        survivors.setdefault(attempt.worker.name, []).append(attempt.n)
    again = len(run.computed_again)
    return [
        *(
            f"{name} took over factorial of {', '.join(map(str, sorted(calls, reverse=True)))}."
            for name, calls in survivors.items()
        ),
        f"Of {run.calls} results, {run.calls - again} were computed once and {again} again.",
    ]


def _shares(run: Run, took: float) -> str:
    shares = [
        f"{worker.name} took {len(worker.attempts)} call{'' if len(worker.attempts) == 1 else 's'}"
        for worker in run.workers
    ]
    return f"{', '.join(shares)}; {took:.1f} s from the client's start to its end."


if __name__ == "__main__":
    sys.exit(main())
