"""`python -m demo N`: the command line, and what is shown of a run."""

from __future__ import annotations

import argparse
import math
import queue
import signal
import sys
import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from demo.processes import Cluster, Process, ProcessError

if TYPE_CHECKING:
    type Lines = queue.SimpleQueue[tuple[Process, str | None]]

WORKER_STYLES = ("cyan", "magenta", "green", "yellow", "blue", "red")


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
        return _run(args.n, args.workers, args.pace, args.resonate)
    except KeyboardInterrupt:
        print("demo: stopped; no process and no file is left", file=sys.stderr)
        return 130
    except ProcessError as e:
        print(f"demo: {e}", file=sys.stderr)
        return 1
    except OSError as e:
        print(f"demo: {e.filename}: {e.strerror}", file=sys.stderr)
        return 1


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m demo",
        description="Compute the factorial of N by workers that call each other through a "
        "durable server, and show which worker does what.",
    )
    parser.add_argument("n", metavar="N", type=_natural, help="the number, from 0 up")
    parser.add_argument(
        "--workers", type=_positive, default=3, help="how many workers (default: 3)"
    )
    parser.add_argument(
        "--pace",
        type=_seconds,
        default=0.2,
        metavar="SECONDS",
        help="how long each call waits before it recurses (default: 0.2)",
    )
    parser.add_argument(
        "--resonate",
        metavar="BINARY",
        help="a real legacy Resonate server to use instead of the devserver",
    )
    return parser.parse_args()


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 up")
    return int(text)


def _positive(text: str) -> int:
    if _natural(text) == 0:
        raise argparse.ArgumentTypeError("at least one is needed")
    return int(text)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= 3600:
        raise argparse.ArgumentTypeError("between 0 and 3600 seconds, please")
    return seconds


def _run(n: int, worker_count: int, pace: float, resonate: str | None) -> int:
    console = Console(highlight=False, soft_wrap=True)
    lines: Lines = queue.SimpleQueue()
    with Cluster(resonate, lambda process, line: lines.put((process, line))) as cluster:
        cluster.start_workers(worker_count, pace)
        begin = time.monotonic()
        client = cluster.start_client(n)
        _show(console, lines, cluster, client)
        took = time.monotonic() - begin
        answer = client.output[-1:] if client.wait() == 0 else []
        for worker in cluster.workers:
            worker.stop()
    expected = f"Result: {math.factorial(n)}"
    if answer != [expected]:
        raise ProcessError("the client has no right answer")
    shares = ", ".join(f"{worker.name} took {_calls(worker)}" for worker in cluster.workers)
    console.print(f"{shares}; {took:.1f} s from the client's start to its end.")
    console.print(f"The result equals Python's math.factorial({n}):")
    console.print(expected)
    return 0


def _show(console: Console, lines: Lines, cluster: Cluster, client: Process) -> None:
    """Print each line as it comes, with the name of its process, until the client ends."""
    while True:
        process, line = lines.get()
        if line is None:
            if process is client:
                return
            raise ProcessError(f"{process.name} has ended: {' '.join(process.errors)}")
        style = "bold"
        if process in cluster.workers:
            style = WORKER_STYLES[cluster.workers.index(process) % len(WORKER_STYLES)]
        if not line.startswith("Result: "):
            console.print(Text(f"{process.name:>8} | {line}", style))


def _calls(worker: Process) -> str:
    count = sum(line.startswith("factorial(") and "=" not in line for line in worker.output)
    return "1 call" if count == 1 else f"{count} calls"


if __name__ == "__main__":
    sys.exit(main())
