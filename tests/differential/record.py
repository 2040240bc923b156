"""Record the real server's answers."""

from __future__ import annotations

import argparse

from demo.cluster import Cluster
from tests.differential import answers
from tests.differential.play import play
from tests.differential.sequences import all_sequences


def main() -> None:
    """Play sequences on the real server and record its answers."""
    parser = argparse.ArgumentParser(prog="python -m tests.differential.record")
    parser.add_argument("--resonate", metavar="BINARY", required=True)
    parser.add_argument("names", nargs="*", help="which sequences (default: all)")
    args = parser.parse_args()
    sequences = all_sequences()
    for name in args.names or sequences:
        steps = sequences[name]
        with Cluster(args.resonate) as cluster:
            answers.write(name, steps, play(steps, cluster))
        print(f"{name}: {len(steps)} steps")


if __name__ == "__main__":
    main()
