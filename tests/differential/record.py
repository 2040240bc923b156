"""Write down what the real server answers."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster import Cluster
from tests.differential.play import play
from tests.differential.sequences import all_sequences

if TYPE_CHECKING:
    from tests.differential.play import Step

FOLDER = Path(__file__).with_name("recorded")


def main() -> None:
    """Play sequences on the real server and write its answers."""
    parser = argparse.ArgumentParser(prog="python -m tests.differential.record")
    parser.add_argument("--resonate", metavar="BINARY", required=True)
    parser.add_argument("names", nargs="*", help="which sequences (default: all)")
    args = parser.parse_args()
    sequences = all_sequences()
    for name in args.names or sequences:
        steps = sequences[name]
        with Cluster(args.resonate) as cluster:
            answers = play(steps, cluster)
        lines = [json.dumps([s, a], sort_keys=True) for s, a in zip(steps, answers, strict=True)]
        (FOLDER / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(f"{name}: {len(lines)} steps")


def recorded(name: str) -> tuple[list[Step], list[Any]]:
    """Read what was asked in a sequence, and what the real server answered."""
    text = (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8")
    pairs = [json.loads(line) for line in text.splitlines()]
    return [step for step, _ in pairs], [answer for _, answer in pairs]


if __name__ == "__main__":
    main()
