"""Prints a run as plain lines, each with the name of the process that printed it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console

    from demo.run import Run

WORKER_STYLES = ("cyan", "magenta", "green", "yellow", "blue", "bright_black")


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
        styles = {worker.name: style(worker.index) for worker in self._run.workers}
        for entry in self._run.log[self._printed :]:
            line = Text(f"{entry.source:>8} | {entry.text}", styles.get(entry.source, "bold"))
            self._console.print(line, soft_wrap=True)
        self._printed = len(self._run.log)


def style(index: int) -> str:
    """Return the colour of a worker, by its place among the workers."""
    return WORKER_STYLES[index % len(WORKER_STYLES)]
