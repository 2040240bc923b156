"""Follows a run: hears what the processes print and which keys are pressed, and kills."""

from __future__ import annotations

import queue
import signal
import time
from typing import TYPE_CHECKING, Literal, Protocol

from cluster import Cluster, Process, ProcessError

if TYPE_CHECKING:
    from demo.run import Run

    type Victim = Literal["worker", "server"]

# How often the view is brought up to date (seconds).
REFRESH = 0.1


class View(Protocol):
    """What shows a run to a person."""

    def update(self) -> None:
        """Show what is so now."""


class Director:
    """The ears and hands of the demo. Everything that it hears comes through one queue.

    Args:
        run: what it writes down all that it hears in.
        pace: how long each call waits before it recurses, in seconds.
        kill: what to kill in the middle of the descent.
        restart: whether a killed worker is replaced.
    """

    def __init__(self, run: Run, pace: float, kill: Victim | None, *, restart: bool) -> None:
        self._run = run
        self._pace = pace
        self._kill = kill
        self._restart = restart
        self._heard = queue.SimpleQueue[tuple[float, Process, str | None] | str]()
        self._begin = time.monotonic()
        self._restarted: Process | None = None

    @property
    def clock(self) -> float:
        """The seconds since the client was started."""
        return time.monotonic() - self._begin

    def line(self, process: Process, text: str | None) -> None:
        """Hear a line that a process printed, or None after its last one; from any thread."""
        self._heard.put((time.monotonic(), process, text))

    def key(self, key: str) -> None:
        """Hear a key; from any thread."""
        self._heard.put(key)

    def start(self, cluster: Cluster, workers: int, n: int) -> Process:
        """Start the workers, and then the client.

        Returns:
            The client.
        """
        for worker in cluster.start_workers(workers, self._pace):
            self._run.joined(worker.name, worker.pid)
        everyone = [cluster.server, *cluster.workers]
        pids = ", ".join(f"{process.name} {process.pid}" for process in everyone)
        self._run.notice(0, f"process ids: {pids}")
        self._begin = time.monotonic()
        return cluster.start_client(n)

    def follow(self, cluster: Cluster, client: Process, view: View) -> None:
        """Keep the run and its view up to date until the client has ended.

        Raises:
            ProcessError: no worker is left, or the server has ended by itself.
            KeyboardInterrupt: somebody pressed `q`.
        """
        shown = 0.0
        while not self._hear(cluster, client):
            if self._kill and self._run.lowest <= (self._run.n + 1) // 2:
                self._kill_in_the_middle(cluster, self._kill)
            if self.clock - shown > REFRESH:
                view.update()
                shown = self.clock
        view.update()

    def _hear(self, cluster: Cluster, client: Process) -> bool:
        """Wait for what there is to hear, for a short while, and act on it.

        Returns:
            Whether the client has ended.
        """
        try:
            heard = self._heard.get(timeout=REFRESH)
        except queue.Empty:
            return False
        match heard:
            case "k":
                self._kill_worker(cluster)
            case "s":
                cluster.server.kill()
            case "q":
                raise KeyboardInterrupt
            case (_, process, None) if process is client:
                return True
            case (when, process, None):
                self._ended(cluster, process, when - self._begin)
            case (when, process, text) if process is not client:
                if process is self._restarted:
                    self._run.notice(when - self._begin, f"server (pid {process.pid}) is back")
                    self._restarted = None
                self._run.printed(when - self._begin, process.name, text)
        return False

    def _kill_in_the_middle(self, cluster: Cluster, victim: Victim) -> None:
        self._kill = None
        if victim == "server":
            cluster.server.kill()
        else:
            self._kill_worker(cluster)

    def _kill_worker(self, cluster: Cluster) -> None:
        """Kill the worker that holds the most; of several, the one that was busy last."""
        alive = [worker for worker in self._run.workers if worker.died is None]
        if len(alive) == 1 and not self._restart:
            self._run.notice(self.clock, f"{alive[0]} is the last one, and is left alone")
            return
        victim = max(alive, key=lambda w: (len(w.holds), w.attempts[-1].begun if w.attempts else 0))
        cluster.workers[victim.index].kill()

    def _ended(self, cluster: Cluster, process: Process, when: float) -> None:
        """Deal with a process that has ended, by our kill, by somebody else's, or by itself."""
        if process is cluster.server:
            if process.wait() != -signal.SIGKILL:
                raise ProcessError(f"the server has ended: {' '.join(process.errors)}")
            self._run.server_died(when, process.pid)
            cluster.launch_server()
            self._restarted = cluster.server
        elif process in cluster.workers:
            self._run.worker_died(when, process.name)
            if self._restart:
                worker = cluster.launch_worker(self._pace)
                self._run.joined(worker.name, worker.pid)
                self._run.notice(self.clock, f"{worker.name} (pid {worker.pid}) takes its place")
            elif all(worker.died is not None for worker in self._run.workers):
                raise ProcessError(f"no worker is left: {' '.join(process.errors)}")
