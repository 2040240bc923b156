"""A worker: it computes factorials, and leaves each smaller one to the whole group."""

from argparse import ArgumentParser
from collections.abc import Generator
from threading import Event
from typing import Any

from resonate import Context

from plumbing import Worker, shortened

resonate = Worker(group="factorial-worker")


@resonate.register
def factorial(ctx: Context, n: int) -> Generator[Any, Any, int]:
    """Return n!, with a durable promise for every level of the recursion."""
    if type(n) is not int or n < 0:
        raise ValueError(f"n must be a whole number from 0 up, not {n!r}")
    print(f"factorial({n})")
    result = 1
    if n > 1:
        if pace := ctx.get_dependency("pace"):
            yield ctx.sleep(pace)
        result = n * (
            yield ctx.rpc("factorial", n - 1).options(
                target="poll://any@factorial-worker", id=f"factorial-{n - 1}"
            )
        )
    print(f"factorial({n}) = {shortened(result)}")
    return result


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

    resonate.start()
    print("Factorial worker is running...")
    Event().wait()


if __name__ == "__main__":
    main()
