"""`python -m demo N`: the command line, and the end of a run."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    sys.exit("demo: This runs on Linux and macOS. On Windows, run it in WSL.")

import argparse
import io
import math
import signal
from contextlib import ExitStack, nullcontext
from pathlib import Path

from rich.console import Console

from demo.board import Board, Lines
from demo.cluster import Cluster
from demo.crashes import crash_everywhere
from demo.director import Director
from demo.keys import pressed_keys
from demo.processes import ProcessError
from demo.run import Run


def main() -> int:
    """Run the demo.

    Returns:
        The exit code.
    """
    args = _parse_arguments()
    for stream in (sys.stdout, sys.stderr):
        assert isinstance(stream, io.TextIOWrapper)
        stream.reconfigure(errors="backslashreplace")  # not every terminal has every character
    sys.set_int_max_str_digits(0)
    for number in (signal.SIGTERM, signal.SIGHUP):  # they stop the demo as Ctrl-C does
        signal.signal(number, signal.default_int_handler)
    try:
        if args.crash_everywhere:
            return crash_everywhere(args.scripts, args.n, args.resonate, args.workers)
        return _run(args)
    except KeyboardInterrupt:
        print("demo: Stopped. It left no processes or files behind.", file=sys.stderr)
        return 130
    except (ProcessError, OSError) as e:
        print(f"demo: {e}", file=sys.stderr)
        return 1


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m demo",
        description="Compute the factorial of N on workers that call each other through a "
        "durable server, and show which worker runs which call.",
    )
    parser.add_argument("n", metavar="N", type=int, help="the number, from 0 to 10000")
    parser.add_argument("--workers", type=int, default=3, help="how many workers (default: 3)")
    parser.add_argument(
        "--pace",
        type=float,
        default=0.2,
        metavar="SECONDS",
        help="how long each call pauses before it calls the next one (default: 0.2)",
    )
    parser.add_argument(
        "--kill",
        nargs="?",
        const="worker",
        choices=["worker", "server"],
        help="in the middle of the descent, `kill -9` the worker that is running a call; with "
        "`server`, kill and restart the server instead",
    )
    parser.add_argument(
        "--plain", action="store_true", help="print lines instead of the live board"
    )
    parser.add_argument(
        "--scripts",
        type=Path,
        default=Path(),
        metavar="FOLDER",
        help="where factorial_worker.py and factorial_client.py are (default: this folder)",
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
        "a process at exactly that step, and check every result (N from 0 to 50)",
    )
    args = parser.parse_args()
    # The search reads the promises with one request, which returns at most 100 of them.
    largest = 50 if args.crash_everywhere else 10_000
    if not 0 <= args.n <= largest:
        parser.error(f"N must be from 0 to {largest}")
    if not (args.scripts / "factorial_worker.py").is_file():
        parser.error(
            f"factorial_worker.py is not in {args.scripts.absolute()}. Run this in the tutorial's "
            "folder, or name that folder with --scripts."
        )
    if args.workers < 1:
        parser.error("--workers must be at least 1")
    if not 0 <= args.pace <= 3600:
        parser.error("--pace must be from 0 to 3600 seconds")
    if args.kill == "worker" and args.workers == 1:
        parser.error("--kill needs a worker that can take over: use --workers 2")
    return args


def _run(args: argparse.Namespace) -> int:
    console = Console(highlight=False)
    expected = f"Result: {math.factorial(args.n)}"
    # The summary's lines, and the shell's next one.
    below = 3 + math.ceil(len(expected) / console.width)
    run = Run(args.n, args.pace)
    director = Director(run, args.kill)
    has_board = not args.plain and console.is_interactive
    with Cluster(args.scripts, args.resonate, director.line) as cluster, ExitStack() as screen:
        with console.status("Starting the workers") if has_board else nullcontext():
            client = director.start(cluster, args.workers)
        view: Board | Lines = Lines(run, console)
        if has_board:
            has_keys = screen.enter_context(pressed_keys(director.key))
            keys = "k kills a worker, s restarts the server, q quits" if has_keys else ""
            view = screen.enter_context(Board(run, console, keys, cluster.page, below))
        director.follow(cluster, client, view)
    if client.wait() != 0 or client.output != [expected]:
        raise ProcessError(client.ending)
    if run.kills:
        again = sum(count > 1 for count in run.finished.values())
        console.print(f"{again or 'None'} of the {run.total} results had to be computed again.")
    elif args.kill:
        console.print("Nothing was killed, because the run finished too soon.")
    console.print(f"The result equals Python's math.factorial({args.n}):")
    console.print(expected, soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
