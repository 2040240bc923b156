"""`python -m benchmarks`: measure, and print tables in Markdown."""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from statistics import median

from benchmarks.contenders import Restate, Scripts, with_finished_promises


class Figures:
    """The values of one table, by row and column."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

    def note(self, row: str, column: str, value: float) -> None:
        """Add a value, and print it to stderr."""
        self._values[row][column].append(value)
        print(f"{self._title}: {row}, {column}: {value:.3g}", file=sys.stderr, flush=True)

    def print(self) -> None:
        """Print the median, the least and the greatest of each cell's values."""
        columns = list(next(iter(self._values.values())))
        print(f"\n| {self._title} | {' | '.join(columns)} |\n|---|{'---:|' * len(columns)}")
        for row, cells in self._values.items():
            shown = [f"{median(it):.3g} ({min(it):.3g} to {max(it):.3g})" for it in cells.values()]
            print(f"| {row} | {' | '.join(shown)} |", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure the recursion on three workers, many small calls, the kill of a "
        "worker, and devserver with many finished promises. Each round measures everything in "
        "turn. The tables show medians, and the least and the greatest value.",
    )
    parser.add_argument("--resonate", metavar="BINARY", help="also measure this real server")
    parser.add_argument(
        "--restate",
        metavar="BINARY",
        help="also measure this Restate server (needs the dependency group `restate`)",
    )
    parser.add_argument("--rounds", type=int, default=3, help="how many rounds (default: 3)")
    parser.add_argument(
        "--million", action="store_true", help="also measure a million finished promises"
    )
    parser.add_argument("--quick", action="store_true", help="try the command with few calls")
    args = parser.parse_args()
    scripts = [
        Scripts("devserver, plain SDK"),
        Scripts("devserver, resonate_transport", uses_transport=True),
    ]
    if args.resonate:
        scripts.append(Scripts("real server, plain SDK", args.resonate))
    contenders: list[Scripts | Restate] = [*scripts]
    if args.restate:
        contenders.append(Restate("Restate, its Python SDK", args.restate))
    try:
        _measure(scripts, contenders, args)
    except (AssertionError, OSError) as e:
        sys.exit(f"benchmarks: {e}")


def _measure(
    scripts: list[Scripts], contenders: list[Scripts | Restate], args: argparse.Namespace
) -> None:
    levels, calls = Figures("milliseconds a level"), Figures("small calls, and a kill")
    growth = Figures("devserver's finished promises")
    for _ in range(args.rounds):
        for n in [5] if args.quick else [20, 200, 1000]:
            for contender in contenders:
                levels.note(contender.name, f"n = {n}", contender.factorial(n) * 1000 / n)
        for script in scripts:
            for figure, value in script.small_calls_and_a_kill(8 if args.quick else 400).items():
                calls.note(script.name, figure, value)
        for count in [10] if args.quick else [1_000, 100_000] + [1_000_000] * args.million:
            for figure, value in with_finished_promises(count).items():
                growth.note(f"{count:,}", figure, value)
    for figures in (levels, calls, growth):
        figures.print()


if __name__ == "__main__":
    main()
