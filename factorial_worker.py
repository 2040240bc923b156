"""A worker: it computes factorials, and leaves each smaller one to the whole group."""

import os
import signal
import sys
from argparse import ArgumentParser
from collections.abc import Generator
from threading import Event
from typing import Any

from resonate import Context, Resonate

# Python refuses to print a number of more than 4,300 digits unless it is told not to.
sys.set_int_max_str_digits(0)

resonate = Resonate.remote(group="factorial-worker")


@resonate.register
def factorial(ctx: Context, n: int) -> Generator[Any, Any, int]:
    """Return n!, with a durable promise for every level of the recursion."""
    print(f"factorial({n})", flush=True)
    if n <= 1:
        return report(n, 1)
    if pace := ctx.get_dependency("pace"):
        yield ctx.sleep(pace)
    result = yield ctx.rpc("factorial", n - 1).options(
        target="poll://any@factorial-worker", id=f"factorial-{n - 1}"
    )
    return report(n, n * result)


def report(n: int, value: int) -> int:
    """Print the value of a call, shortened where it is long, and return it."""
    text = str(value)
    if len(text) > 40:
        text = f"{text[:10]}...{text[-10:]} ({len(text)} digits)"
    print(f"factorial({n}) = {text}", flush=True)
    return value


def seconds(text: str) -> float:
    """Read a time from the command line."""
    value = float(text)
    if not 0 <= value <= 3600:
        raise ValueError
    return value


def main() -> None:
    """Work until Ctrl-C or SIGTERM."""
    parser = ArgumentParser(description="Compute factorials, together with other workers.")
    parser.add_argument(
        "--pace",
        type=seconds,
        default=0,
        metavar="SECONDS",
        help="wait this long in each call, so that there is time to watch (default: 0)",
    )
    resonate.set_dependency("pace", parser.parse_args().pace)

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM is like Ctrl-C
    try:
        resonate.start()
        print("Factorial worker is running...", flush=True)
        Event().wait()
    except KeyboardInterrupt:
        print("Factorial worker stopped.", flush=True)
        os._exit(0)  # at once: what this worker was doing, another one takes over


if __name__ == "__main__":
    main()
