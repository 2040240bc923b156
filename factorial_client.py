"""A client that asks the workers for one factorial and prints it."""

import sys
from argparse import ArgumentParser

from plumbing import Resonate  # the SDK's class, with a sturdier connection
from plumbing.terminal import run, waiting

resonate = Resonate.remote(group="factorial-client")


def main() -> None:
    """Print `Result: ` and the factorial of n."""
    parser = ArgumentParser(description="Calculate the factorial of n on the workers.")
    parser.add_argument("n", type=int, help="a whole number from 0 to 10000")
    n = parser.parse_args().n
    if not 0 <= n <= 10_000:  # the results of a longer run would fill a disk
        parser.error("n must be from 0 to 10000")

    try:
        with waiting(f"factorial-{n}"):
            result = resonate.options(target="poll://any@factorial-worker").rpc(
                f"factorial-{n}", "factorial", n=n
            )
    except Exception as e:  # noqa: BLE001 - a promise can be rejected with any exception
        sys.exit(f"factorial({n}) failed: {e}")
    print(f"Result: {result}")


if __name__ == "__main__":
    run(main, "Interrupted. The call continues. Run the client again to get its result.", 130)
