"""The client: it asks the workers for one factorial, and prints it."""

import sys
from argparse import ArgumentParser, ArgumentTypeError

from resonate import Resonate

# Python refuses to print a number of more than 4,300 digits unless it is told not to.
sys.set_int_max_str_digits(0)

resonate = Resonate.remote(group="factorial-client")


def whole_number(text: str) -> int:
    """Read n from the command line."""
    if not text.isdecimal():
        raise ArgumentTypeError(f"{text!r} is not a whole number from 0 up")
    return int(text)


def main() -> None:
    """Print `Result: ` and the factorial of n."""
    parser = ArgumentParser(description="Calculate the factorial of n on the workers.")
    parser.add_argument("n", type=whole_number, help="the number to compute the factorial of")
    n = parser.parse_args().n

    result = resonate.options(target="poll://any@factorial-worker").rpc(
        f"factorial-{n}", "factorial", n=n
    )
    print(f"Result: {result}")


if __name__ == "__main__":
    main()
