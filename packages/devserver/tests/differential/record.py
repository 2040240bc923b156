"""Record the real server's answers.

To add a sequence, write its steps into a new file, each as `[step, null]`, and record it.
"""

from __future__ import annotations

import argparse
import json

from tests.differential.play import NAMES, file_of, play, read
from tests.programs import Server


def main() -> None:
    """Play the recorded sequences on the real server, and record its answers again."""
    parser = argparse.ArgumentParser(prog="python -m tests.differential.record")
    parser.add_argument("--resonate", metavar="BINARY", required=True)
    parser.add_argument("names", nargs="*", help="which sequences (default: all)")
    args = parser.parse_args()
    for name in args.names or NAMES:
        steps, _ = read(name)
        with Server(args.resonate) as server:
            pairs = zip(steps, play(steps, server), strict=True)
            lines = [json.dumps(pair, sort_keys=True) for pair in pairs]
        file_of(name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(f"{name}: {len(steps)} steps")


if __name__ == "__main__":
    main()
