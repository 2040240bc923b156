"""Two views of a run: a live board with a row for each call, and plain lines."""

from __future__ import annotations

import textwrap
import time
from typing import TYPE_CHECKING, Self

from rich.columns import Columns
from rich.console import Group
from rich.live import Live
from rich.table import Column, Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

    from demo.run import Run

# The colours of worker 1, 2 and so on, about those of the page.
COLOURS = (
    *("bright_blue", "dark_orange", "green", "medium_orchid"),
    *("gold3", "dark_cyan", "hot_pink", "grey62"),
)
# The lines of the newest events, and of everything else except the workers and the calls.
NEWS, FRAME = 4, 6


class Lines:
    """Prints the log of a run as it grows.

    Args:
        run: the run to show.
        console: where to print it.
    """

    def __init__(self, run: Run, console: Console) -> None:
        self._run = run
        self._console = console
        self._printed = 0

    def update(self) -> None:
        """Print the new lines."""
        for entry in self._run.log[self._printed :]:
            line = Text(f"{entry.source:>8} | {entry.text}", _colour(entry.source))
            self._console.print(line, soft_wrap=True)
        self._printed = len(self._run.log)


class Board:
    """Draws a run on a terminal, in the words of the server's page.

    It is a context manager. When it exits, the board's last state stays on the screen.

    Args:
        run: the run to show.
        console: the terminal.
        keys: a line that explains the keys.
        page: the URL of the server's page, if it has one.
        below: how many lines are printed below the board at its end.
    """

    def __init__(
        self, run: Run, console: Console, keys: str, page: str | None, below: int = 0
    ) -> None:
        self._run = run
        self._keys = keys
        self._page = page or ""
        self._below = below
        self._frame = FRAME + NEWS
        self._now = time.monotonic()
        self._live = Live(self, console=console, auto_refresh=False, vertical_overflow="crop")

    def __enter__(self) -> Self:
        self._live.start(refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._keys = self._page = ""  # the keys and the page no longer work
        self._frame += self._below
        self._live.refresh()
        self._live.stop()

    def update(self) -> None:
        """Draw the current state."""
        self._now = time.monotonic()
        self._live.refresh()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        workers = self._workers(options)
        height = len(console.render_lines(workers, options))
        run = self._run
        page = _line(self._page, "dim")
        if run.is_server_down:
            page = _line("The server is restarting.", "bold red")
        counts = f"{len(run.calls)} of {run.total} started, {len(run.finished)} finished"
        yield Group(
            _line(f"factorial({run.n})  {self._clock(self._now):.1f} s  {counts}", "bold"),
            page,
            workers,
            _line("", ""),
            self._calls(max(options.size.height - self._frame - height, 3)),
            _line("", ""),
            *self._news(options.max_width),
            _line(self._keys, "dim"),
        )

    def _clock(self, moment: float) -> float:
        """Return the seconds since the first call started, as the page counts them."""
        return max(moment - (self._run.begun or moment), 0)

    def _workers(self, options: ConsoleOptions) -> Columns:
        """List the workers. If they fill more than a fifth of the screen, leave out something."""
        shown, lines = list(self._run.workers), max(options.size.height // 5, 1)
        has_pids = len(shown) <= options.max_width // 33 * lines
        room = len(shown) if has_pids else max(options.max_width // 20, 1) * lines
        others = [Text(f"{len(shown) - room + 1} others")] if len(shown) > room else []
        shown = shown[len(shown) - room + 1 :] if others else shown
        return Columns([*others, *(self._worker(worker, has_pids) for worker in shown)], equal=True)

    def _worker(self, worker: str, has_pid: bool) -> Text:
        name = f"{worker} (pid {self._run.workers[worker]})" if has_pid else worker
        if worker in self._run.dead:
            return Text.assemble((name, "dim"), (" killed", "bold red"))
        running = self._run.running(worker, self._now)
        return Text(f"{name} {f'runs {running[0]}' if running else 'idle'}", _colour(worker))

    def _calls(self, room: int) -> Table:
        """Draw all the calls if they fit, or those around the current one."""
        table = Table(
            Column("call", justify="right", no_wrap=True),
            Column("value or state", ratio=1, no_wrap=True, overflow="ellipsis"),
            Column("last worker", no_wrap=True),
            box=None,
            header_style="bold",
            expand=True,
            pad_edge=False,
        )
        top, bottom = self._run.n, min(self._run.n, 1)
        first = min(self._run.front + 2 * room // 3, top)
        last = max(first - room + 1, bottom)
        for n in range(min(last + room - 1, top), last - 1, -1):
            table.add_row(str(n), *self._call(n))
        return table

    def _call(self, n: int) -> tuple[Text, Text]:
        """Describe a call: grey while it is stored, and in the worker's colour while it runs."""
        state = self._run.state(n, self._now)
        if state == "not started":
            return Text(), Text()
        call = self._run.calls[n]
        words = {"waits": f"waits for {n - 1}", "finished": str(call.value)}
        colour = "dim" if state in {"waits", "pauses"} else _colour(call.worker)
        style = {"needs a worker": "bold red", "runs": f"bold {colour}"}.get(state, colour)
        return Text(words.get(state, state), style), Text(call.worker, colour)

    def _news(self, width: int) -> list[Text]:
        """Return the last lines of the newest events."""
        lines = [""] * NEWS
        for entry in self._run.log:
            if entry.source == "demo":
                clock = f"{self._clock(entry.time):6.1f} s  "
                lines += textwrap.wrap(
                    clock + entry.text, max(width, 20), subsequent_indent=" " * len(clock)
                )
        return [_line(line, "yellow") for line in lines[-NEWS:]]


def _line(text: str, style: str) -> Text:
    return Text(text, style, no_wrap=True, overflow="ellipsis")


def _colour(source: str) -> str:
    """Return the colour of `worker 1` and so on; other processes are bold."""
    kind, _, number = source.partition(" ")
    return COLOURS[(int(number) - 1) % len(COLOURS)] if kind == "worker" else "bold"
