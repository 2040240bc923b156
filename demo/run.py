"""The model of a run: which worker started which call, and what each call does now."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Literal, NamedTuple

type State = Literal["not started", "running", "pausing", "waiting", "needs a worker", "finished"]

CALL = re.compile(r"factorial\((\d+)\)(?: = (.+))?")


@dataclass(eq=False)
class Worker:
    """A worker process of the run.

    Args:
        name: like `worker 1`.
        pid: its process id.
        index: its place among the workers, from 0.
        died: when it was killed; None while it runs.
    """

    name: str
    pid: int
    index: int
    died: float | None = None


@dataclass
class Call:
    """A call that has started.

    Args:
        worker: the last worker that started it.
        begun: when it started.
        value: its result, as the worker printed it; None while it is unfinished.
    """

    worker: Worker
    begun: float
    value: str | None = None


class Entry(NamedTuple):
    """A line of the log: its time, the process that printed it (`demo` for an event), its text."""

    time: float
    source: str
    text: str


class Run:
    """The state of one run of factorial(n), which the director updates and the views draw.

    All times are seconds on the monotonic clock.

    Args:
        n: the number that the client asks for.
        pace: how long each call pauses before it calls the next one (seconds).
    """

    def __init__(self, n: int, pace: float) -> None:
        self.n = n
        self.pace = pace
        self.workers: list[Worker] = []
        self.calls: dict[int, Call] = {}
        self.finished: Counter[int] = Counter()
        self.log: list[Entry] = []
        self.begun: float | None = None
        self.kills = 0
        self.is_server_down = False

    @property
    def total(self) -> int:
        """How many calls the recursion has."""
        return max(self.n, 1)

    @property
    def front(self) -> int:
        """The call where the run is now: the last one that started, or the next result."""
        if self.finished:
            return min(max(self.finished) + 1, self.n)
        return min(self.calls, default=self.n + 1)

    def state(self, n: int, time: float) -> State:
        """Return what a call does at a time."""
        call, smaller = self.calls.get(n), self.calls.get(n - 1)
        if call is None:
            return "not started"
        if call.value is not None:
            return "finished"
        if smaller is not None and smaller.value is None:
            return "waiting"
        if smaller is None and n > 1 and time < call.begun + self.pace:
            return "pausing"
        return "running" if call.worker.died is None else "needs a worker"

    def running(self, worker: Worker, time: float) -> list[int]:
        """Return the calls that a worker is running at a time."""
        calls = [n for n, call in self.calls.items() if call.worker is worker]
        return [n for n in calls if self.state(n, time) == "running"]

    def joined(self, name: str, pid: int) -> None:
        """Add a worker that was started."""
        self.workers.append(Worker(name, pid, len(self.workers)))

    def notice(self, time: float, text: str) -> None:
        """Record an event."""
        self.log.append(Entry(time, "demo", text))

    def printed(self, time: float, source: str, line: str) -> None:
        """Record a line that a process printed."""
        self.log.append(Entry(time, source, line))
        worker = next((worker for worker in self.workers if worker.name == source), None)
        if worker is not None and (match := CALL.fullmatch(line)):
            n, value = int(match[1]), match[2]
            if value is None:
                self._started(time, worker, n)
            else:
                self.calls[n].value = value
                self.finished[n] += 1

    def worker_died(self, time: float, name: str) -> None:
        """Record that a worker was killed."""
        worker = next(worker for worker in self.workers if worker.name == name)
        worker.died = time
        self.kills += 1
        waiting = sum(self.state(n, time) == "waiting" for n in self.calls)
        calls = "1 waiting call" if waiting == 1 else f"{waiting} waiting calls"
        self.notice(time, f"{name} (pid {worker.pid}) was killed. {calls} noticed nothing.")

    def server_died(self, time: float, pid: int) -> None:
        """Record that the server was killed."""
        self.is_server_down = True
        self.kills += 1
        self.notice(time, f"server (pid {pid}) was killed and is restarting")

    def server_restarted(self, time: float, pid: int) -> None:
        """Record that the server runs again."""
        self.is_server_down = False
        self.notice(time, f"server (pid {pid}) has restarted")

    def _started(self, time: float, worker: Worker, n: int) -> None:
        if self.begun is None:
            self.begun = time
        call = self.calls.setdefault(n, Call(worker, time))
        last, call.worker = call.worker, worker
        if last is not worker:
            self.notice(time, f"{worker.name} took over {n} from {last.name}")
