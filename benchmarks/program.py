"""Measure everything, print the figures, and write them to a file."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from benchmarks import runs
from benchmarks.growth import fill, growth
from benchmarks.limits import digits, limit
from benchmarks.picture import draw
from benchmarks.runs import Contender
from demo.processes import ProcessError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.growth import Growth

    type Samples = dict[str, dict[int, list[float]]]

SIZES = [20, 100, 200, 500, 1000, 2000]
AT_ONCE = [1, 8, 64]
FINISHED = [1_000, 100_000]
MANY_FINISHED = 1_000_000


def main() -> int:
    """Measure, print and write.

    Returns:
        The exit code.
    """
    args = _parse_arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the processes are stopped
    sys.set_int_max_str_digits(0)
    sizes = args.sizes or SIZES + [5000] * args.long
    finished = args.finished or FINISHED + [MANY_FINISHED] * args.long
    contenders = [Contender(), Contender(watched=True), Contender(plain=True)]
    if args.resonate:
        contenders.append(Contender(args.resonate, plain=True))
    if args.restate:
        contenders.append(Contender(restate=args.restate))
    console = Console(highlight=False)
    try:
        results = _measure(contenders, sizes, finished, args, console)
    except KeyboardInterrupt:
        print("benchmarks: Stopped. Nothing was written.", file=sys.stderr)
        return 130
    except (ProcessError, OSError) as e:
        print(f"benchmarks: {e}", file=sys.stderr)
        return 1
    _show(results, console)
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    draw(results, args.output / "levels.svg")
    console.print(f"Wrote {args.output / 'results.json'} and {args.output / 'levels.svg'}")
    return 0


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure the recursion on three workers, many small calls, the recovery from "
        "a kill, and the server with many finished promises. Each round runs all contenders in "
        "turn.",
    )
    parser.add_argument(
        "--resonate", metavar="BINARY", help="also measure this real legacy Resonate server"
    )
    parser.add_argument(
        "--restate",
        metavar="BINARY",
        help="also measure the recursion on this Restate server and its Python SDK "
        "(needs the dependency group `restate`)",
    )
    parser.add_argument(
        "--sizes", type=int, nargs="+", metavar="N", help=f"the values of n (default: {SIZES})"
    )
    parser.add_argument(
        "--finished",
        type=int,
        nargs="+",
        metavar="COUNT",
        help=f"how many finished promises the server stores (default: {FINISHED})",
    )
    parser.add_argument(
        "--calls",
        type=int,
        default=800,
        metavar="COUNT",
        help="how many small calls (default: 800)",
    )
    parser.add_argument("--rounds", type=int, default=3, help="how many rounds (default: 3)")
    parser.add_argument(
        "--long",
        action="store_true",
        help=f"also measure n = 5000 and {MANY_FINISHED} finished promises",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("docs/benchmark"),
        metavar="FOLDER",
        help="the folder for the results (default: docs/benchmark)",
    )
    args = parser.parse_args()
    if args.restate and find_spec("restate") is None:
        parser.error(
            "--restate needs Restate's SDK. Run `uv run --all-groups python -m benchmarks`."
        )
    return args


def _measure(
    contenders: list[Contender],
    sizes: list[int],
    finished: list[int],
    args: argparse.Namespace,
    console: Console,
) -> dict[str, Any]:
    """Measure everything round by round, so that other load affects all contenders alike."""
    results: dict[str, Any] = {
        "day": f"{datetime.now(UTC).date()}",
        "machine": _machine(),
        "rounds": args.rounds,
        "sizes": sizes,
    }
    results["contenders"] = [contender.name for contender in contenders]
    kinds = ("limits", "digits", "starts", "recursion", "small calls", "recovery", "growth")
    results |= {kind: [] for kind in kinds}

    def note(kind: str, contender: Contender, **figures: Any) -> None:
        results[kind].append({"contender": contender.name, **figures})
        shown = ", ".join(f"{name} {_number(figure)}" for name, figure in figures.items())
        console.print(f"{kind}: {contender.name}, {shown}", style="dim")

    for count, figures in _grown(finished, args.rounds):
        note("growth", contenders[0], finished=count, **asdict(figures))
    resonates = [contender for contender in contenders if contender.restate is None]
    for _ in range(args.rounds):
        results["limits"].append(limit())
        results["digits"].append({str(n): digits(n) for n in sizes})
        results["starts"].append(runs.starts())
        for n in sizes:
            for contender in contenders:
                note("recursion", contender, n=n, **asdict(runs.recursion(contender, n)))
        for at_once in AT_ONCE:
            for contender in resonates:
                # Calls one at a time are slow, and fewer of them give the same precision.
                count = max(args.calls // 4, 1) if at_once == 1 else args.calls
                rate = runs.small_calls(contender, count, at_once)
                note("small calls", contender, at_once=at_once, per_second=rate)
        for contender in resonates:
            note("recovery", contender, seconds=runs.recovery(contender))
    return results


def _grown(finished: list[int], rounds: int) -> Iterator[tuple[int, Growth]]:
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        files = {count: Path(folder) / f"{count}.db" for count in finished}
        for count, file in files.items():
            fill(file, count)
        for _ in range(rounds):
            for count, file in files.items():
                yield count, growth(file, count)


def _machine() -> str:
    system = f"{platform.system()} {platform.machine()}"
    return f"{os.cpu_count()} cores, {system}, Python {platform.python_version()}"


def _number(figure: float) -> str:
    return str(figure) if isinstance(figure, int) else f"{figure:.3g}"


def _samples(results: dict[str, Any], kind: str, key: str, figure: str) -> Samples:
    """Collect one figure by contender and by size."""
    samples: Samples = {}
    for result in results[kind]:
        by_size = samples.setdefault(result["contender"], {})
        by_size.setdefault(result[key], []).append(result[figure])
    return samples


def _spread(values: list[float]) -> str:
    return f"{median(values):.1f} ({min(values):.1f}-{max(values):.1f})"


def _show(results: dict[str, Any], console: Console) -> None:
    levels = _samples(results, "recursion", "n", "ms_per_level")
    _table(console, "ms per level: median (least-greatest)", "n", levels, _spread)
    others = [name for name in levels if not name.startswith("devserver")]
    *smaller, most = results["sizes"]
    for name, by_size in levels.items():
        growth = [
            f"{median(by_size[most]) / median(by_size[n]):.2f} x as much as n = {n}"
            for n in smaller
        ]
        line = f"{name}: a level of n = {most} costs {', '.join(growth)}"
        for other in others:
            ratios = [
                f"{median(by_size[n]) / median(levels[other][n]):.2f} (n = {n})" for n in by_size
            ]
            if other != name:
                line += f"; time relative to {other}: {', '.join(ratios)}"
        console.print(line, soft_wrap=True)
    for title, figure in [
        ("CPU ms per level, server", "server_ms"),
        ("CPU ms per level, all workers", "worker_ms"),
        ("peak memory of the server (MB)", "server_mb"),
        ("peak memory of a worker (MB)", "worker_mb"),
    ]:
        _table(console, title, "n", _samples(results, "recursion", "n", figure), _spread)
    calls = _samples(results, "small calls", "at_once", "per_second")
    _table(console, "small calls per second", "at once", calls, lambda v: f"{median(v):.0f}")
    recovery: Samples = {}
    for result in results["recovery"]:
        recovery.setdefault(result["contender"], {0: []})[0].append(result["seconds"])
    _table(console, "seconds lost by a kill -9", "", recovery, _spread)
    figures_of_growth = ("start", "get_ms", "create_ms", "server_mb", "file_mb")
    grown = {
        figure: next(iter(_samples(results, "growth", "finished", figure).values()))
        for figure in figures_of_growth
    }
    _table(console, "with finished promises", "finished", grown, lambda v: f"{median(v):.2f}")
    for name in ("devserver", "client"):
        console.print(f"start of the {name}: {_spread([s[name] for s in results['starts']])} s")
    figures = {
        name: median([one[name] for one in results["limits"]]) for name in results["limits"][0]
    }
    console.print(
        f"round trip {figures['round trip']:.3f} ms, fsync {figures['fsync']:.3f} ms: "
        f"a level costs at least {figures['level']:.2f} ms"
    )
    numbers = [
        f"{median([one[str(n)] for one in results['digits']]):.2f} (n = {n})"
        for n in results["sizes"]
    ]
    console.print(f"and for the digits of its result, ms: {', '.join(numbers)}", soft_wrap=True)


def _table(
    console: Console,
    title: str,
    size: str,
    samples: Samples,
    write: Callable[[list[float]], str],
) -> None:
    table = Table(title=title, title_justify="left")
    table.add_column(size, justify="right")
    for name in samples:
        table.add_column(name, justify="right")
    for n in next(iter(samples.values())):
        table.add_row(str(n) if size else "", *(write(by_size[n]) for by_size in samples.values()))
    console.print(table)
