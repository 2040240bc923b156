"""Record the real server's answers.

To add a sequence, write its steps into a new file, each as `[step, null]`, and record it.
"""

from __future__ import annotations

import argparse

from tests.differential import answers
from tests.differential.play import play
from tests.programs import Server


def main() -> None:
    """Play the recorded sequences on the real server, and record its answers again."""
    parser = argparse.ArgumentParser(prog="python -m tests.differential.record")
    parser.add_argument("--resonate", metavar="BINARY", required=True)
    parser.add_argument("names", nargs="*", help="which sequences (default: all)")
    args = parser.parse_args()
    for name in args.names or answers.NAMES:
        steps, _ = answers.read(name)
        with Server(args.resonate) as server:
            answers.write(name, steps, play(steps, server))
        print(f"{name}: {len(steps)} steps")


if __name__ == "__main__":
    main()
