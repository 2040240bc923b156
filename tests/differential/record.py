"""Record the real server's answers.

To add a sequence, write its steps into a new file, each as `[step, null]`, and record it.
"""

from __future__ import annotations

import argparse

from demo.cluster import Cluster
from tests.differential import answers
from tests.differential.play import play


def main() -> None:
    """Play the recorded sequences on the real server, and record its answers again."""
    parser = argparse.ArgumentParser(prog="python -m tests.differential.record")
    parser.add_argument("--resonate", metavar="BINARY", required=True)
    parser.add_argument("names", nargs="*", help="which sequences (default: all)")
    args = parser.parse_args()
    for name in args.names or answers.NAMES:
        steps, _ = answers.read(name)
        with Cluster(args.resonate) as cluster:
            answers.write(name, steps, play(steps, cluster))
        print(f"{name}: {len(steps)} steps")


if __name__ == "__main__":
    main()
