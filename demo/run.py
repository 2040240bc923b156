"""The model of a run: which worker started which call, and when."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise

CALL = re.compile(r"factorial\((\d+)\)(?: = (.+))?")


@dataclass(eq=False)
class Attempt:
    """One worker's run of one call, from the first line that it prints to the last.

    A call that is taken over has an attempt for each worker that started it. All times are
    in seconds since the run started.

    Args:
        n: the call is factorial(n).
        worker: the worker that runs it.
        begun: when the worker started it.
        ended: when the worker finished or died, or when another worker took over.
        value: the value that the worker printed; None if it printed none.
    """

    n: int
    worker: Worker
    begun: float
    ended: float | None = None
    value: str | None = None


@dataclass(eq=False)
class Worker:
    """A worker process of the run.

    Args:
        name: like `worker 1`.
        pid: its process id.
        index: its place among the workers, from 0.
        died: when it ended, in seconds since the run started; None while it runs.
        attempts: the calls that it started, in that order.
    """

    name: str
    pid: int
    index: int
    died: float | None = None
    attempts: list[Attempt] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid})"

    @property
    def holds(self) -> list[int]:
        """The calls that it started and no worker has finished or taken over, highest first."""
        return [attempt.n for attempt in self.attempts if attempt.ended is None]

    @property
    def done(self) -> int:
        """How many calls it has finished."""
        return sum(attempt.value is not None for attempt in self.attempts)


@dataclass(frozen=True)
class Entry:
    """A line of the run's log.

    Args:
        time: in seconds since the run started.
        source: the name of the process that printed it, or `demo` for an event.
        text: the line.
        is_kill: whether it says that a process was killed.
    """

    time: float
    source: str
    text: str
    is_kill: bool = False


class Run:
    """The state of one run of factorial(n), which the director updates and the views draw.

    Args:
        n: the number that the client asks for.
    """

    def __init__(self, n: int) -> None:
        self.n = n
        self.workers: list[Worker] = []
        self.log: list[Entry] = []
        self.kills: list[tuple[float, str]] = []
        self.attempts: dict[int, list[Attempt]] = {}
        self.results: set[int] = set()

    @property
    def calls(self) -> int:
        """How many calls the recursion has."""
        return max(self.n, 1)

    @property
    def lowest(self) -> int:
        """The smallest number whose call has started; n + 1 before the first call."""
        return min(self.attempts, default=self.n + 1)

    @property
    def front(self) -> int:
        """The call where the run is now: the last one that started, or the next result."""
        if not self.results:
            return self.lowest
        return min(max(self.results) + 1, self.n)

    @property
    def news(self) -> list[Entry]:
        """The events: kills, takeovers, replacements."""
        return [entry for entry in self.log if entry.source == "demo"]

    @property
    def takeovers(self) -> list[Attempt]:
        """The attempts that continued the call of another worker, in the order of their start."""
        found = [
            new
            for attempts in self.attempts.values()
            for old, new in pairwise(attempts)
            if old.value is None
        ]
        return sorted(found, key=lambda attempt: attempt.begun)

    @property
    def computed_again(self) -> list[int]:
        """The calls whose value was computed by more than one attempt, highest first."""
        return [
            n
            for n, attempts in self.attempts.items()
            if sum(attempt.value is not None for attempt in attempts) > 1
        ]

    def left_behind(self, worker: Worker) -> list[int]:
        """Return the calls of a dead worker that no other worker has taken over yet."""
        return [a.n for a in worker.attempts if self.attempts[a.n][-1] is a and a.value is None]

    def joined(self, name: str, pid: int) -> None:
        """Add a worker that was started."""
        self.workers.append(Worker(name, pid, len(self.workers)))

    def printed(self, time: float, source: str, line: str) -> None:
        """Record a line that a process printed."""
        self.log.append(Entry(time, source, line))
        worker = next((worker for worker in self.workers if worker.name == source), None)
        if worker is not None and (call := CALL.fullmatch(line)):
            n = int(call[1])
            if call[2] is None:
                self._begun(time, worker, n)
            else:
                self._finished(time, worker, n, call[2])

    def notice(self, time: float, text: str, *, is_kill: bool = False) -> None:
        """Record an event."""
        self.log.append(Entry(time, "demo", text, is_kill))

    def worker_died(self, time: float, name: str) -> None:
        """Record that a worker's process has ended."""
        worker = next(worker for worker in self.workers if worker.name == name)
        unfinished = _listed(worker.holds)
        worker.died = time
        self.kills.append((time, worker.name))
        self.notice(time, f"{worker} was killed with {unfinished}", is_kill=True)
        for attempt in worker.attempts:
            attempt.ended = attempt.ended or time

    def server_died(self, time: float, pid: int) -> None:
        """Record that the server was killed."""
        self.kills.append((time, "server"))
        self.notice(time, f"server (pid {pid}) was killed and is restarting")

    def _begun(self, time: float, worker: Worker, n: int) -> None:
        attempt = Attempt(n, worker, time)
        earlier = self.attempts.setdefault(n, [])
        if earlier and earlier[-1].value is None:
            last = earlier[-1]
            last.ended = last.ended or time
            self.notice(time, f"{worker.name} took over factorial({n}) from {last.worker.name}")
        elif earlier:
            self.notice(time, f"{worker.name} is computing factorial({n}) again")
        earlier.append(attempt)
        worker.attempts.append(attempt)

    def _finished(self, time: float, worker: Worker, n: int, value: str) -> None:
        for attempt in self.attempts[n]:
            if attempt.worker is worker:
                attempt.ended, attempt.value = time, value
        self.results.add(n)


def _listed(calls: list[int]) -> str:
    """List calls by their numbers, at most five of them."""
    if not calls:
        return "no unfinished calls"
    shown = ", ".join(map(str, calls[:5])) + (", ..." if len(calls) > 5 else "")
    return f"{len(calls)} unfinished call{'s' if len(calls) > 1 else ''}: {shown}"
