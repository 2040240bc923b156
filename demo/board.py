"""The run as a live board: a row for each call, a column for each worker."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Self

from rich import box
from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from demo.lines import style

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console, ConsoleOptions, RenderResult

    from demo.run import Attempt, Entry, Run, Worker

# The least width of a column (characters), and the number of lines that are not calls.
COLUMN_WIDTH = 12
FRAME_HEIGHT = 14
NEWS = 3


class Board:
    """Draws a run on a terminal, and updates it.

    It is a context manager. When it exits, the board's last state stays on the screen.

    Args:
        run: what to show.
        console: the terminal.
        clock: returns the seconds since the run began.
        keys: a line that explains the keys.
        page: the URL of the server's page, if it has one.
    """

    def __init__(
        self,
        run: Run,
        console: Console,
        clock: Callable[[], float],
        keys: str,
        page: str | None,
    ) -> None:
        self._run = run
        self._clock = clock
        self._keys = keys
        self._page = page or ""
        self._live = Live(self, console=console, auto_refresh=False, vertical_overflow="crop")

    def __enter__(self) -> Self:
        self._live.start(refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._keys = self._page = ""  # the keys and the page no longer work
        self._live.refresh()
        self._live.stop()

    def update(self) -> None:
        """Draw the current state."""
        self._live.refresh()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        rows = self._window(max(options.size.height - FRAME_HEIGHT, 3))
        yield Group(
            self._title(),
            self._progress(),
            self._calls(rows, options.max_width),
            self._legend(rows),
            *self._news(options.max_width),
            Text(self._keys, "dim", no_wrap=True, overflow="ellipsis"),
        )

    def _title(self) -> Table:
        line = Table.grid(
            Column(no_wrap=True),
            Column(ratio=1, no_wrap=True, overflow="ellipsis"),
            Column(no_wrap=True),
            padding=(0, 1),
            expand=True,
        )
        title = Text(f"factorial({self._run.n})", "bold")
        line.add_row(title, Text(self._page, "dim"), f"{self._clock():.1f} s")
        return line

    def _progress(self) -> Table:
        run = self._run
        started, finished = len(run.attempts), len(run.results)
        line = Table.grid(Column(ratio=1), Column(no_wrap=True), padding=(0, 1), expand=True)
        line.add_row(
            ProgressBar(total=2 * run.calls, completed=started + finished),
            f"{started} of {run.calls} calls started, {finished} finished",
        )
        return line

    def _calls(self, rows: list[int], width: int) -> Table:
        own, others = self._columns(max((width - 8) // (COLUMN_WIDTH + 2), 1))
        # Each column has a space on both sides.
        room = (width - len(str(self._run.n)) - 2) // max(len(own) + bool(others), 1) - 2
        headers = [self._header(worker) for worker in own]
        if others:
            headers.append(Text(f"{len(others)} others"))
        table = Table(
            Column("n", justify="right", no_wrap=True),
            *(Column(header, ratio=1, no_wrap=True, overflow="ellipsis") for header in headers),
            box=box.SIMPLE_HEAD,
            expand=True,
            padding=(0, 1),
            pad_edge=False,
        )
        for n in rows:
            attempts = self._run.attempts.get(n, [])
            of_others = [attempt for attempt in attempts if attempt.worker in others]
            cells = [
                next((self._cell(it, room) for it in attempts if it.worker is worker), "")
                for worker in own
            ]
            if of_others:
                last = of_others[-1]
                cells.append(
                    Text.assemble(f"{last.worker.index + 1}: ", self._cell(last, room - 4))
                )
            table.add_row(Text(str(n), "bold" if n == self._run.front else ""), *cells)
        return table

    def _columns(self, room: int) -> tuple[list[Worker], list[Worker]]:
        """Choose the workers that get a column.

        If there are too many: first dead workers with calls that no worker has taken over, then
        living workers, then the other dead ones.
        """
        workers = self._run.workers
        if len(workers) <= room:
            return workers, []
        by_need = sorted(
            workers,
            key=lambda w: 1 if w.died is None else 0 if self._run.left_behind(w) else 2,
        )
        others = by_need[room - 1 :]
        return [worker for worker in workers if worker not in others], others

    def _legend(self, rows: list[int]) -> Table:
        """Explain what waiting means, and say which rows are shown."""
        line = Table.grid(
            Column(ratio=1, no_wrap=True, style="dim"), Column(no_wrap=True), expand=True
        )
        shown = f"{rows[0]} to {rows[-1]} of {self._run.n}" if len(rows) < self._run.calls else ""
        has_ended = self._run.n in self._run.results
        line.add_row("" if has_ended else "A waiting call uses no worker.", shown)
        return line

    def _window(self, room: int) -> list[int]:
        """Choose the rows: all of them if they fit, or those around the current call."""
        top, bottom = self._run.n, 1 if self._run.n else 0
        first = min(self._run.front + 2 * room // 3, top)
        last = max(first - room + 1, bottom)
        return list(range(min(last + room - 1, top), last - 1, -1))

    def _header(self, worker: Worker) -> Text:
        if worker.died is None:
            title, colour = f"{worker.name} alive", style(worker.index)
            load = f"unfinished {len(worker.holds)}"
        else:
            title, colour = f"KILLED {worker.name}", "red"
            load = f"unfinished {len(self._run.left_behind(worker))}"
        return Text.assemble(
            (title, f"bold {colour}"),
            (f"\npid {worker.pid}\n{load}\nfinished {worker.done}", "not bold"),
        )

    def _cell(self, attempt: Attempt, room: int) -> Text:
        """Describe what a worker does with a call, in so many characters if possible."""
        worker, n = attempt.worker, attempt.n
        attempts = self._run.attempts[n]
        colour = style(worker.index)

        def live(words: str) -> str:
            # In a narrow column, the arrow in the dead worker's column says enough.
            long = f"took over, {words}"
            return long if attempt is not attempts[0] and len(long) <= room else words

        if attempt.value is not None:
            return Text(live(f"= {attempt.value}"), colour)
        if attempt is not attempts[-1]:
            return Text(f"↪ {attempts[-1].worker.name}", "dim red")
        waits = n - 1 in self._run.attempts and n - 1 not in self._run.results
        if worker.died is not None:
            # A waiting call does not need a worker yet.
            return (
                Text(f"waits for {n - 1}", "red") if waits else Text("needs a worker", "bold red")
            )
        if waits:
            return Text(live(f"waits for {n - 1}"), colour)
        return Text(live("runs"), f"bold {colour}")

    def _news(self, width: int) -> list[Text]:
        """Return the newest entries that fit, and the latest kill, however old it is."""
        entries = self._run.news[-NEWS:]
        killed = next((entry for entry in reversed(self._run.news) if entry.is_kill), None)
        if killed is not None and killed not in entries:
            entries.insert(0, killed)
        while sum(len(_wrapped(entry, width)) for entry in entries) > NEWS:
            entries.remove(next(entry for entry in entries if entry is not killed))
        lines = [
            Text(line, "yellow", no_wrap=True)
            for entry in entries
            for line in _wrapped(entry, width)
        ]
        return lines + [Text()] * (NEWS - len(lines))


def _wrapped(entry: Entry, width: int) -> list[str]:
    """Break an entry into at most two lines."""
    time = f"{entry.time:6.1f} s  "
    return textwrap.wrap(
        entry.text,
        max(width, 2 * len(time)),
        initial_indent=time,
        subsequent_indent=" " * len(time),
        max_lines=2,
        placeholder=" …",
    )
