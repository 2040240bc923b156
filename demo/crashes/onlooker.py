"""Follows a run with one crash at a chosen step, slowly enough for the user to watch."""

from __future__ import annotations

import queue
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from demo.director import REFRESH
from demo.processes import Process
from demo.proxy import Passage

if TYPE_CHECKING:
    from demo.crashes.cluster import CrashCluster
    from demo.crashes.points import Outcome
    from demo.director import View
    from demo.run import Run


class Onlooker:
    """Updates the model of a run with each step, each line and each end of a process.

    Args:
        run: the model that it updates.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._news = queue.SimpleQueue[tuple[float, Process | Passage, str | None]]()
        self._begin = time.monotonic()

    @property
    def clock(self) -> float:
        """The seconds since the client was started."""
        return time.monotonic() - self._begin

    def line(self, process: Process, text: str | None) -> None:
        """Queue a line that a process printed, or None after its last one; from any thread."""
        self._news.put((time.monotonic(), process, text))

    def step(self, passage: Passage) -> None:
        """Queue a step; from any thread."""
        self._news.put((time.monotonic(), passage, None))

    def follow(self, cluster: CrashCluster, view: View) -> Outcome:
        """Run the recursion, and keep the run and its view up to date until the end."""
        self._begin = time.monotonic()
        with ThreadPoolExecutor(1) as pool:
            outcome = pool.submit(cluster.run)
            try:
                while not outcome.done():
                    self._take_in(cluster)
                    view.update()
                    time.sleep(REFRESH)
            except BaseException:
                cluster.abort()
                raise
        self._take_in(cluster)
        view.update()
        return outcome.result()

    def _take_in(self, cluster: CrashCluster) -> None:
        for worker in cluster.workers[len(self._run.workers) :]:
            self._run.joined(worker.name, worker.pid)
        while not self._news.empty():
            when, source, text = self._news.get()
            when = max(when - self._begin, 0)
            if isinstance(source, Passage):
                self._run.notice(when, _described(source))
            elif text is not None and source.name != "client":
                self._run.printed(when, source.name, text)
            elif text is None and source.wait() == -signal.SIGKILL:
                self._killed(when, source)

    def _killed(self, when: float, process: Process) -> None:
        if process.name == "server":
            self._run.server_died(when, process.pid)
        elif process.name == "client":
            self._run.notice(when, f"client (pid {process.pid}) was killed, and is started again")
        else:
            self._run.worker_died(when, process.name)


def _described(passage: Passage) -> str:
    """Draw a step as an arrow of the README's diagram."""
    if passage.moment == "after":
        return f"server → {passage.party}: answer to {passage.step}, status {passage.status}"
    if passage.is_message:
        return f"server → {passage.party}: message: {passage.step}"
    return f"{passage.party} → server: {passage.step}"
