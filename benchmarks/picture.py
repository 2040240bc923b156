"""The picture of the time per level."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

if TYPE_CHECKING:
    from pathlib import Path


def draw(results: dict[str, Any], path: Path) -> None:
    """Draw milliseconds per level against n: a line for each contender, and the spread around it.

    Args:
        results: the measurements.
        path: the picture's file. Its suffix gives the format.

    Raises:
        OSError: the file cannot be written.
    """
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    sizes = results["sizes"]
    for name in results["contenders"]:
        values = [
            [
                result["ms_per_level"]
                for result in results["recursion"]
                if (result["contender"], result["n"]) == (name, n)
            ]
            for n in sizes
        ]
        (line,) = axes.plot(sizes, [median(some) for some in values], marker="o", label=name)
        axes.fill_between(sizes, list(map(min, values)), list(map(max, values)), alpha=0.2)
        line.set_zorder(3)
    least = median(one["level"] for one in results["limits"])
    limits = [least + median(one[str(n)] for one in results["digits"]) for n in sizes]
    axes.plot(sizes, limits, color="grey", linestyle=":", label="the least possible")
    axes.set_xscale("log")
    axes.set_xticks(sizes, [str(n) for n in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(0)
    axes.set_xlabel("n")
    axes.set_ylabel("milliseconds per level")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path)
