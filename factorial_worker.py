"""A worker that computes factorials, together with the other workers of its group."""

import os
import reprlib
import sys
from argparse import ArgumentParser
from collections.abc import Generator
from threading import Event
from typing import Any

from resonate import Context, Resonate

sys.set_int_max_str_digits(0)  # by default, Python refuses to print more than 4300 digits
resonate = Resonate.remote(group="factorial-worker")
pace = 0.0  # how many seconds each call pauses


@resonate.register
def factorial(ctx: Context, n: int) -> Generator[Any, Any, int]:
    """Return n!, with a durable promise for each level of the recursion."""
    if type(n) is not int or n < 0:
        raise ValueError(f"n must be a non-negative integer, not {n!r}")
    print(f"factorial({n})")
    if n <= 1:
        print(f"factorial({n}) = 1")
        return 1
    if pace:
        yield ctx.sleep(pace)
    result: int = yield ctx.rpc("factorial", n - 1).options(
        target="poll://any@factorial-worker", id=f"factorial-{n - 1}"
    )
    print(f"factorial({n}) = {reprlib.repr(n * result)}")  # abbreviates long numbers
    return n * result


if __name__ == "__main__":
    parser = ArgumentParser(description="Compute factorials, together with other workers.")
    parser.add_argument("--pace", type=float, default=0, help="seconds to pause in each call")
    pace = parser.parse_args().pace
    print(f"Factorial worker is running (pid {os.getpid()})...")
    resonate.start()
    try:
        Event().wait()
    except KeyboardInterrupt:
        print("Factorial worker stopped.")
