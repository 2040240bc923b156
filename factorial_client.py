"""The client: it asks the workers for one factorial, and prints it."""

from argparse import ArgumentParser, ArgumentTypeError

from plumbing import Client

resonate = Client(group="factorial-client")


def whole_number(text: str) -> int:
    """Read n from the command line; all results of a run past 10,000 would fill a disk."""
    if not text.isdecimal() or int(text) > 10_000:
        raise ArgumentTypeError(f"{text!r} is not a whole number from 0 to 10000")
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
