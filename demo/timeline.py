"""The run as a picture: time across, n down, and a bar for each worker's go at each call."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.typing import ColorType

    from demo.run import Attempt, Run

# The palette of Okabe and Ito, which colour-blind readers can tell apart.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#F0E442")
KILL = "#D00000"
# How strong the colour is while a worker runs the call, and while the call waits.
RUNNING, WAITING = 1.0, 0.3
LEFT_BEHIND = "#E4E4E4"


def draw(run: Run, took: float, path: Path) -> None:
    """Draw a run.

    Args:
        run: what happened in it.
        took: how long it was, in seconds.
        path: where to; its suffix says which format.

    Raises:
        OSError: the file cannot be written.
    """
    figure = Figure(figsize=(9, min(2.0 + 0.2 * run.calls, 8.0)), layout="constrained")
    axes = figure.add_subplot()
    first = min((attempts[0].begun for attempts in run.attempts.values()), default=0)
    for attempts in run.attempts.values():
        for attempt in attempts:
            colour = COLOURS[attempt.worker.index % len(COLOURS)]
            for begin, end, strength in _phases(run, attempt, took):
                _bar(axes, attempt.n, begin - first, end - first, to_rgba(colour, strength))
        for old, new in pairwise(attempts):
            _bar(axes, new.n, (old.ended or took) - first, new.begun - first, LEFT_BEHIND)
    for time, name in run.kills:
        axes.axvline(time - first, color=KILL, linewidth=1.5)
        axes.annotate(
            f"{name} killed",
            (time - first, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            color=KILL,
        )
    axes.set_xlim(0, took - first)
    axes.set_ylim(0.4 if run.n else -0.6, run.n + 0.6)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=15, integer=True))
    axes.set_xlabel("seconds since the first call")
    axes.set_ylabel("factorial of")
    axes.spines[["top", "right"]].set_visible(False)
    bars = [
        Patch(color=COLOURS[worker.index % len(COLOURS)], label=worker.name)
        for worker in run.workers
    ]
    bars.append(Patch(color=to_rgba("black", RUNNING), label="a worker runs it"))
    bars.append(Patch(color=to_rgba("black", WAITING), label="it waits for the one below"))
    if run.takeovers:
        bars.append(Patch(color=LEFT_BEHIND, label="left behind by a killed worker"))
    figure.legend(handles=bars, loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path, dpi=150)


def _bar(axes: Axes, n: int, begin: float, end: float, colour: ColorType) -> None:
    # The edge keeps what took next to no time visible.
    axes.barh(n, end - begin, left=begin, height=0.8, color=colour, linewidth=0.8, edgecolor=colour)


def _phases(run: Run, attempt: Attempt, took: float) -> list[tuple[float, float, float]]:
    """Cut an attempt into running down, waiting for the call below, and running up.

    Returns:
        Each phase as its begin, its end and the strength of its colour.
    """
    end = took if attempt.ended is None else attempt.ended
    below = run.attempts.get(attempt.n - 1, [])
    asked = min((other.begun for other in below), default=end)
    answered = min((other.ended or end for other in below if other.value), default=end)
    asked = min(max(asked, attempt.begun), end)
    answered = min(max(answered, asked), end)
    phases = [(attempt.begun, asked, RUNNING), (asked, answered, WAITING), (answered, end, RUNNING)]
    return [phase for phase in phases if phase[1] > phase[0]] or phases[:1]
