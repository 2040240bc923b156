"""The run as a picture that looks like the page: a lane for each call over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import Patch

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from demo.facts import Facts, Lane
    from demo.run import Run

# The page's colours of workers.
COLOURS = (
    "#1769c2",
    "#c2570c",
    "#178a55",
    "#9334b5",
    "#98720a",
    "#0b8391",
    "#c2246c",
    "#64707d",
)
KILL = "#d0342c"
QUIET = "#566270"
HATCH = "#9aa5b1"
OUTAGE = "#e6e9ed"
# The opacity of a stored call.
PALE = 0.24
# With more calls than this, the rows do not have room for labels.
MOST_LABELS = 60
# The least width of a bar, as a part of the whole.
LEAST = 0.004


def draw(facts: Facts, run: Run, path: Path) -> None:
    """Draw a run.

    Args:
        facts: what happened in it.
        run: the names of its workers.
        path: the file to write; its suffix says which format.

    Raises:
        OSError: the file cannot be written.
    """
    workers = _Workers(run)
    count = len(facts.lanes)
    figure = Figure(figsize=(9, min(1.3 + 0.22 * count, 12)), layout="constrained")
    axes = figure.add_subplot()
    for begin, end in facts.outages:
        axes.axvspan(begin, end, color=OUTAGE, linewidth=0)
        axes.text((begin + end) / 2, -0.7, f"server down {end - begin:.1f} s", ha="center", size=8)
    least = LEAST * facts.took
    for row, lane in enumerate(facts.lanes):
        _draw_lane(axes, row, lane, workers, least)
        if count <= MOST_LABELS:
            _label(axes, row, lane, facts, workers)
    killed = {process for process in facts.deaths if _had_calls(process, facts)}
    for process in killed:
        time = facts.deaths[process]
        axes.axvline(time, color=KILL, linewidth=1)
        axes.text(
            time,
            -0.7,
            f"✕ {workers.name(process)} died at {time:.1f} s",
            color=KILL,
            ha="center",
            size=9,
        )
    _style(axes, facts)
    handles = [
        Patch(color=COLOURS[worker.index % len(COLOURS)], label=worker.name)
        for worker in run.workers
    ]
    handles += [
        Patch(facecolor=QUIET, label="solid: runs"),
        Patch(facecolor=QUIET, alpha=PALE, label="pale: stored, waits or sleeps"),
    ]
    if any(segment.kind == "orphan" for lane in facts.lanes for segment in lane.segments):
        handles.append(
            Patch(facecolor="none", edgecolor=HATCH, hatch="////", label="its worker died")
        )
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=min(len(handles), 6),
        frameon=False,
        fontsize=8,
    )
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "timeline"}):
        figure.savefig(path, dpi=150)


class _Workers:
    """The workers' names and colours, by their process ids, which begin with the pid."""

    def __init__(self, run: Run) -> None:
        self._workers = {str(worker.pid): worker for worker in run.workers}

    def name(self, process: str) -> str:
        worker = self._workers.get(process.partition("-")[0])
        return process if worker is None else worker.name

    def colour(self, process: str | None) -> str:
        worker = self._workers.get((process or "").partition("-")[0])
        return QUIET if worker is None else COLOURS[worker.index % len(COLOURS)]


def _draw_lane(axes: Axes, row: int, lane: Lane, workers: _Workers, least: float) -> None:
    for segment in lane.segments:
        wide = segment.end - segment.begin
        own = workers.colour(segment.process)
        match segment.kind:
            case "claimed":
                axes.barh(row, max(wide, least), left=segment.begin, height=0.6, color=own)
            case "waits" | "sleeps":
                axes.barh(
                    row, wide, left=segment.begin, height=0.6, color=own, alpha=PALE, linewidth=0
                )
                if segment.kind == "sleeps":
                    axes.plot(
                        [segment.begin + least, segment.end],
                        [row, row],
                        color=own,
                        linestyle=(0, (0.1, 2)),
                        linewidth=2,
                        dash_capstyle="round",
                    )
            case "orphan":
                axes.barh(
                    row,
                    wide,
                    left=segment.begin,
                    height=0.6,
                    facecolor="none",
                    edgecolor=HATCH,
                    hatch="////",
                    linewidth=0,
                )
            case _:
                axes.barh(
                    row,
                    wide,
                    left=segment.begin,
                    height=0.6,
                    facecolor="none",
                    edgecolor=own,
                    linewidth=0.8,
                )


def _label(axes: Axes, row: int, lane: Lane, facts: Facts, workers: _Workers) -> None:
    end = lane.segments[-1].end if lane.segments else facts.took
    value = lane.value if len(lane.value) <= 20 else f"{lane.value[:19]}…"
    axes.annotate(
        value, (end, row), (6, 0), textcoords="offset points", va="center", size=8, color=QUIET
    )
    for segment in lane.segments:
        died = facts.deaths.get(segment.process or "")
        if segment.kind == "orphan" and died == segment.begin:
            axes.text(died, row, "✕", color=KILL, ha="center", va="center", size=9, weight="bold")
    for time, process in lane.takeovers:
        # On the left of a call's end, the hatched part leaves room for the name.
        axes.annotate(
            f"{workers.name(process)} ↪",
            (time, row),
            (-3, 0),
            textcoords="offset points",
            va="center",
            ha="right",
            size=8,
            color=workers.colour(process),
            weight="bold",
            bbox={"facecolor": "white", "linewidth": 0, "pad": 0.5, "alpha": 0.85},
        )


def _had_calls(process: str, facts: Facts) -> bool:
    return any(
        segment.kind == "orphan" and segment.process == process
        for lane in facts.lanes
        for segment in lane.segments
    )


def _style(axes: Axes, facts: Facts) -> None:
    count = len(facts.lanes)
    step = max(1, -(-count // MOST_LABELS))
    rows = range(0, count, step)
    axes.set_yticks(list(rows), [facts.lanes[row].id.rpartition("-")[2] for row in rows])
    axes.set_ylim(count - 0.4, -0.6)
    axes.set_xlim(0, max(facts.took * 1.02, 0.01))
    axes.set_xlabel("seconds since the first call")
    axes.set_ylabel("factorial of")
    axes.tick_params(left=False, labelsize=8)
    axes.spines[["top", "right", "left"]].set_visible(False)
