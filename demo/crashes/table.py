"""The results of all crash points, as they come: a live table, or lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

from rich import box
from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

    from demo.crashes.everywhere import Verdict
    from demo.crashes.points import Point, Victim
    from demo.proxy import Moment

# A column for each kind of crash.
KINDS: tuple[tuple[Victim, Moment], ...] = (
    ("worker", "before"),
    ("worker", "after"),
    ("server", "before"),
    ("server", "after"),
    ("both", "before"),
    ("both", "after"),
    ("client", "before"),
)
LEGEND = (
    "before: the request does not reach the server. after: the server carries out the request, but "
    "its answer is lost. A message does not have an answer, so that cell is empty. If the client "
    "takes part in a step, it is killed instead of a worker. A cell shows the calls that ran "
    "again, and the delay in seconds."
)
# The lines around the rows.
FRAME_HEIGHT = 11


class View(Protocol):
    """A display of verdicts."""

    def update(self, verdict: Verdict) -> None:
        """Show one more verdict."""


class CrashLines:
    """Prints a line for each verdict.

    Args:
        console: where.
    """

    def __init__(self, console: Console) -> None:
        self._console = console

    def update(self, verdict: Verdict) -> None:
        """Print one more verdict."""
        self._console.print(str(verdict), soft_wrap=True)


class CrashTable:
    """Draws a table in the order of the steps: a row for each step, a column for each crash.

    It is a context manager. Until its exit, it draws the rows that fit on the terminal; then it
    prints the whole table.

    Args:
        points: all the crash points, in the order of their steps.
        console: where.
    """

    def __init__(self, points: list[Point], console: Console) -> None:
        self._rows = list(dict.fromkeys(point.label for point in points))
        self._verdicts: dict[tuple[str, Victim, Moment], Verdict] = {}
        self._last = 0
        self._is_complete = False
        self._progress = Progress(
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("crash points,"),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            console=console,
            expand=True,
        )
        self._task = self._progress.add_task("", total=len(points))
        self._live = Live(self, console=console, refresh_per_second=4, vertical_overflow="crop")

    def __enter__(self) -> Self:
        self._live.start(refresh=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # If the user interrupts the search, the rows stay on the screen.
        self._is_complete = kind is None
        self._live.vertical_overflow = "visible" if self._is_complete else "crop"
        self._live.refresh()
        self._live.stop()

    def update(self, verdict: Verdict) -> None:
        """Fill in a cell."""
        (point,) = verdict.points
        self._verdicts[point.label, point.victim, point.moment] = verdict
        self._last = max(self._last, self._rows.index(point.label))
        self._progress.advance(self._task)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self._is_complete:
            yield self._table(self._rows)
            return
        room = max(options.size.height - FRAME_HEIGHT, 3)
        first = max(min(self._last - room + 3, len(self._rows) - room), 0)
        yield Group(self._progress, self._table(self._rows[first : first + room]))

    def _table(self, steps: list[str]) -> Table:
        table = Table(
            Column("step", no_wrap=True),
            *(Column(f"{victim}\n{moment}", min_width=6) for victim, moment in KINDS),
            box=box.SIMPLE_HEAD,
            padding=0,
            show_edge=False,
            caption=LEGEND,
            caption_justify="left",
        )
        for step in steps:
            verdicts = [self._verdicts.get((step, *kind)) for kind in KINDS]
            table.add_row(step, *(cell(verdict) if verdict else "" for verdict in verdicts))
        return table


def cell(verdict: Verdict) -> Text:
    """Shorten a verdict to a few characters."""
    if not verdict.is_right:
        return Text("✘", "bold red")
    if not verdict.has_occurred:
        return Text("none", "yellow")
    numbers = [call.partition("(")[2].rstrip(")") for call in verdict.outcome.again.elements()]
    extra = f"+{verdict.extra:.1f}" if verdict.extra >= 0.05 else ""
    return Text.assemble(
        ("✔", "green"), *(f" {part}" for part in (",".join(numbers), extra) if part)
    )
