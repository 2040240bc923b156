"""What has happened in a run so far: who began which call, and what came of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise

CALL = re.compile(r"factorial\((\d+)\)(?: = (.+))?")


@dataclass(eq=False)
class Attempt:
    """One worker's go at one call, from its first line to its last.

    A call that is taken over has an attempt for each worker that began it. All times are
    seconds since the run began.

    Args:
        n: the call is factorial(n).
        worker: who made it.
        begun: when the worker began it.
        ended: when it had the value, or when it died or somebody else took over.
        value: what the worker printed as the value; None where it did not come to that.
    """

    n: int
    worker: Worker
    begun: float
    ended: float | None = None
    value: str | None = None


@dataclass(eq=False)
class Worker:
    """A worker as the run knows it.

    Args:
        name: like `worker 1`.
        pid: its process id.
        index: its place among the workers, from 0.
        died: when it ended, in seconds since the run began; None while it lives.
        attempts: the calls that it began, in that order.
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
        """The calls that it began and that nobody has finished or taken over, highest first."""
        return [attempt.n for attempt in self.attempts if attempt.ended is None]

    @property
    def done(self) -> int:
        """How many calls it finished."""
        return sum(attempt.value is not None for attempt in self.attempts)


@dataclass(frozen=True)
class Entry:
    """A line of the run's log.

    Args:
        time: in seconds since the run began.
        source: the name of the process that printed it, or `demo` for what the demo noticed.
        text: the line.
        is_kill: whether it says that a process was killed.
    """

    time: float
    source: str
    text: str
    is_kill: bool = False


class Run:
    """All that is known of one run of factorial(n); it is told what happens as it happens.

    Args:
        n: what the client asks for.
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
        """How many calls the whole recursion has."""
        return max(self.n, 1)

    @property
    def lowest(self) -> int:
        """The smallest number that a call was begun for; before the first, n + 1."""
        return min(self.attempts, default=self.n + 1)

    @property
    def front(self) -> int:
        """The call at which something happens now: the descent's last, or the next result."""
        if not self.results:
            return self.lowest
        return min(max(self.results) + 1, self.n)

    @property
    def news(self) -> list[Entry]:
        """What the demo noticed: kills, takeovers, replacements."""
        return [entry for entry in self.log if entry.source == "demo"]

    @property
    def takeovers(self) -> list[Attempt]:
        """The attempts that went on with what another worker had left behind, first one first."""
        found = [
            new
            for attempts in self.attempts.values()
            for old, new in pairwise(attempts)
            if old.value is None
        ]
        return sorted(found, key=lambda attempt: attempt.begun)

    @property
    def computed_again(self) -> list[int]:
        """The calls whose value more than one attempt computed, highest first."""
        return [
            n
            for n, attempts in self.attempts.items()
            if sum(attempt.value is not None for attempt in attempts) > 1
        ]

    def left_behind(self, worker: Worker) -> bool:
        """Tell whether a dead worker has calls that nobody has taken over yet."""
        return any(self.attempts[a.n][-1] is a and a.value is None for a in worker.attempts)

    def joined(self, name: str, pid: int) -> None:
        """Add a worker that was started."""
        self.workers.append(Worker(name, pid, len(self.workers)))

    def printed(self, time: float, source: str, line: str) -> None:
        """Take in a line that a process printed."""
        self.log.append(Entry(time, source, line))
        worker = next((worker for worker in self.workers if worker.name == source), None)
        if worker is not None and (call := CALL.fullmatch(line)):
            n = int(call[1])
            if call[2] is None:
                self._begun(time, worker, n)
            else:
                self._finished(time, worker, n, call[2])

    def notice(self, time: float, text: str, *, is_kill: bool = False) -> None:
        """Add a line of the demo's own."""
        self.log.append(Entry(time, "demo", text, is_kill))

    def worker_died(self, time: float, name: str) -> None:
        """Take in that a worker's process has ended."""
        worker = next(worker for worker in self.workers if worker.name == name)
        held = _listed(worker.holds)
        worker.died = time
        self.kills.append((time, worker.name))
        self.notice(time, f"{worker} was killed; it held {held}", is_kill=True)
        for attempt in worker.attempts:
            attempt.ended = attempt.ended or time

    def server_died(self, time: float, pid: int) -> None:
        """Take in that the server's process was killed."""
        self.kills.append((time, "server"))
        self.notice(time, f"server (pid {pid}) was killed; it restarts, workers return in 1 or 2 s")

    def _begun(self, time: float, worker: Worker, n: int) -> None:
        attempt = Attempt(n, worker, time)
        earlier = self.attempts.setdefault(n, [])
        if earlier and earlier[-1].value is None:
            last = earlier[-1]
            last.ended = last.ended or time
            self.notice(time, f"{worker.name} took over factorial({n}) from {last.worker.name}")
        elif earlier:
            self.notice(time, f"{worker.name} computes factorial({n}) again")
        earlier.append(attempt)
        worker.attempts.append(attempt)

    def _finished(self, time: float, worker: Worker, n: int, value: str) -> None:
        for attempt in self.attempts[n]:
            if attempt.worker is worker:
                attempt.ended, attempt.value = time, value
        self.results.add(n)


def _listed(calls: list[int]) -> str:
    """Name some calls by their numbers, the first ones of many."""
    if not calls:
        return "no call"
    shown = ", ".join(map(str, calls[:5])) + (", ..." if len(calls) > 5 else "")
    return f"{len(calls)} call{'s' if len(calls) > 1 else ''}: {shown}"
