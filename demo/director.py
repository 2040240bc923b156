"""Directs a run: reads the processes' output and the keys, updates the model, and kills."""

from __future__ import annotations

import queue
import signal
import time
from typing import TYPE_CHECKING, Literal, Protocol

from demo.processes import Process, ProcessError

if TYPE_CHECKING:
    from demo.cluster import Cluster
    from demo.run import Run

    type Victim = Literal["worker", "server"]

# How often to update the view (seconds).
REFRESH = 0.1


class View(Protocol):
    """Shows a run to the user."""

    def update(self) -> None:
        """Show the current state."""


class Director:
    """Takes events (lines and keys) from one queue, and acts on them.

    Args:
        run: the model that it updates.
        pace: how long each call waits before it calls the next one, in seconds.
        kill: which process to kill in the middle of the descent, if any.
        restart: whether to replace a killed worker.
    """

    def __init__(self, run: Run, pace: float, kill: Victim | None, *, restart: bool) -> None:
        self._run = run
        self._pace = pace
        self._kill = kill
        self._restart = restart
        self._queue = queue.SimpleQueue[tuple[float, Process, str | None] | str]()
        self._begin = time.monotonic()
        self._restarted: Process | None = None

    @property
    def clock(self) -> float:
        """The seconds since the client was started."""
        return time.monotonic() - self._begin

    def line(self, process: Process, text: str | None) -> None:
        """Queue a line that a process printed, or None after its last one; from any thread."""
        self._queue.put((time.monotonic(), process, text))

    def key(self, key: str) -> None:
        """Queue a key; from any thread."""
        self._queue.put(key)

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
            ProcessError: all workers exited, or the server exited without a kill.
            KeyboardInterrupt: the user pressed `q`.
        """
        shown = 0.0
        while not self._next(cluster, client):
            if self._kill and self._run.lowest <= (self._run.n + 1) // 2:
                self._kill_in_the_middle(cluster, self._kill)
            if self.clock - shown > REFRESH:
                view.update()
                shown = self.clock
        view.update()

    def _next(self, cluster: Cluster, client: Process) -> bool:
        """Wait a moment for the next line or key, and act on it.

        Returns:
            Whether the client has ended.
        """
        try:
            event = self._queue.get(timeout=REFRESH)
        except queue.Empty:
            return False
        match event:
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
                    self._run.notice(
                        when - self._begin, f"server (pid {process.pid}) has restarted"
                    )
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
        """Kill the worker with the most unfinished calls; if tied, the most recently active one."""
        alive = [worker for worker in self._run.workers if worker.died is None]
        if len(alive) == 1 and not self._restart:
            self._run.notice(
                self.clock, f"{alive[0]} was not killed, because it is the last worker"
            )
            return
        victim = max(alive, key=lambda w: (len(w.holds), w.attempts[-1].begun if w.attempts else 0))
        cluster.workers[victim.index].kill()

    def _ended(self, cluster: Cluster, process: Process, when: float) -> None:
        """Record that a process has ended, and start another one if the run needs it."""
        if process is cluster.server:
            if process.wait() != -signal.SIGKILL:
                raise ProcessError(f"the server exited. It printed: {' '.join(process.errors)}")
            self._run.server_died(when, process.pid)
            cluster.launch_server()
            self._restarted = cluster.server
        elif process in cluster.workers:
            self._run.worker_died(when, process.name)
            if self._restart:
                worker = cluster.launch_worker(self._pace)
                self._run.joined(worker.name, worker.pid)
                self._run.notice(
                    self.clock, f"{worker.name} (pid {worker.pid}) was started as a replacement"
                )
            elif all(worker.died is not None for worker in self._run.workers):
                raise ProcessError(
                    f"all workers exited. The last one printed: {' '.join(process.errors)}"
                )
