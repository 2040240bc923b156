"""A worker that computes factorials, together with the other workers of its group."""

import os
from argparse import ArgumentParser
from collections.abc import Generator
from threading import Event
from typing import Any

from resonate import Context

from plumbing import Resonate  # the SDK's class, with a sturdier connection
from plumbing.terminal import run, shortened

resonate = Resonate.remote(group="factorial-worker")


@resonate.register
def factorial(ctx: Context, n: int) -> Generator[Any, Any, int]:
    """Return n!, with a durable promise for each level of the recursion."""
    if type(n) is not int or n < 0:
        raise ValueError(f"n must be a non-negative integer, not {n!r}")
    print(f"factorial({n})")
    if n <= 1:
        print(f"factorial({n}) = 1")
        return 1
    if pace := ctx.get_dependency("pace"):
        yield ctx.sleep(pace)
    result: int = yield ctx.rpc("factorial", n - 1).options(
        target="poll://any@factorial-worker", id=f"factorial-{n - 1}"
    )
    print(f"factorial({n}) = {shortened(n * result)}")
    return n * result


def main() -> None:
    """Run until Ctrl-C or SIGTERM."""
    parser = ArgumentParser(description="Compute factorials, together with other workers.")
    parser.add_argument(
        "--pace", type=float, default=0, metavar="SECONDS", help="wait so long in each call"
    )
    pace = parser.parse_args().pace
    if not 0 <= pace <= 3600:
        parser.error("--pace must be from 0 to 3600 seconds")

    resonate.set_dependency("pace", pace)
    resonate.start()
    print(f"Factorial worker is running (pid {os.getpid()})...")
    Event().wait()


if __name__ == "__main__":
    run(main, "Factorial worker stopped.", 0)
