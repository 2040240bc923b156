"""Directs a run: reads the processes' output and the keys, updates the model, and kills."""

from __future__ import annotations

import queue
import time
from typing import TYPE_CHECKING, Literal

from demo.processes import Process, ProcessError, visible

if TYPE_CHECKING:
    from demo.board import Board, Lines
    from demo.cluster import Cluster
    from demo.run import Run

    type Victim = Literal["worker", "server"]

# How often to update the view (seconds).
REFRESH = 0.1


class Director:
    """Takes events (lines and keys) from one queue, and acts on them.

    Args:
        run: the model that it updates.
        kill: which process to kill in the middle of the descent, if any.
    """

    def __init__(self, run: Run, kill: Victim | None) -> None:
        self._run = run
        self._kill = kill
        self._queue = queue.SimpleQueue[tuple[float, Process, str | None] | str]()

    def line(self, process: Process, text: str | None) -> None:
        """Queue a line that a process printed, or None after its last one; from any thread."""
        self._queue.put((time.monotonic(), process, text))

    def key(self, key: str) -> None:
        """Queue a key; from any thread."""
        self._queue.put(key)

    def start(self, cluster: Cluster, workers: int) -> Process:
        """Start the workers, and then the client, which is returned."""
        for _ in range(workers):
            # One after another: the page numbers the workers in the order of their connections.
            (worker,) = cluster.start_workers(1, self._run.pace)
            self._run.workers[worker.name] = worker.pid
        return cluster.start_client(self._run.n)

    def follow(self, cluster: Cluster, client: Process, view: Board | Lines) -> None:
        """Keep the run and its view up to date until the client has ended.

        Raises:
            ProcessError: another process has ended that was not killed, or all workers have.
            KeyboardInterrupt: the user pressed `q`.
        """
        shown = 0.0
        while not self._next(cluster, client):
            if self._kill and self._run.front <= (self._run.n + 1) // 2:
                kill, self._kill = self._kill, None
                # The call has just begun, so its worker is running it.
                begun = self._run.calls[self._run.front].begun
                self._kill_worker(cluster, begun) if kill == "worker" else cluster.server.kill()
            if time.monotonic() - shown > REFRESH:
                view.update()
                shown = time.monotonic()
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
                self._kill_worker(cluster, time.monotonic())
            case "s":
                cluster.server.kill()
            case "q":
                raise KeyboardInterrupt
            case (_, process, None) if process is client:
                return True
            case (when, process, None):
                self._ended(cluster, process, when)
            case (when, process, text) if process is not client:
                if process is cluster.server and self._run.is_server_down:
                    self._run.server_restarted(when)
                self._run.printed(when, process.name, visible(text))
        return False

    def _kill_worker(self, cluster: Cluster, now: float) -> None:
        """Kill a worker that is running a call, or else the one that was the last to start one."""
        run = self._run
        alive = [worker for worker in cluster.workers if worker.name not in run.dead]
        if len(alive) == 1:
            name = alive[0].name.capitalize()
            run.notice(now, f"{name} was not killed, because it is the last worker.")
            return
        front = run.calls.get(run.front)
        last = front.worker if front else None
        victim = max(alive, key=lambda it: (bool(run.running(it.name, now)), it.name == last))
        # Before the kill: another worker may restart its call before this process reads of its end.
        run.worker_died(now, victim.name)
        victim.kill()

    def _ended(self, cluster: Cluster, process: Process, when: float) -> None:
        """Record that a process has ended, and start the server again."""
        if process.wait() >= 0:  # it was not ended by a signal
            raise ProcessError(process.ending)
        if process is cluster.server:
            self._run.server_died(when)
            cluster.launch_server()
            return
        if process.name not in self._run.dead:  # it was killed from outside
            self._run.worker_died(when, process.name)
        if len(self._run.dead) == len(cluster.workers):
            raise ProcessError("All workers were killed.")
