"""The model of a run: which worker started which call, and what each call does now."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Literal, NamedTuple

# In the words of the server's page.
type State = Literal["not started", "runs", "pauses", "waits", "needs a worker", "finished"]

CALL = re.compile(r"factorial\((\d+)\)(?: = (.+))?")
# How long a call runs before it pauses, about (seconds).
MOMENT = 0.05


@dataclass
class Call:
    """A call that has started: the last worker that started it, when it began, and its result."""

    worker: str
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

    Attributes:
        workers: the process id of each worker, by its name.
        dead: the names of the workers that were killed.
        lost: the calls that were running when their worker was killed, and when that was, until
            another worker restarts them.
        calls: the calls that have started.
        finished: how often the result of each call was computed.
        log: what the processes printed, and events.
        kills: how many processes were killed.
        is_server_down: whether the server was killed and does not run yet.
    """

    def __init__(self, n: int, pace: float) -> None:
        self.n = n
        self.pace = pace
        self.workers: dict[str, int] = {}
        self.dead: set[str] = set()
        self.lost: dict[int, float] = {}
        self.calls: dict[int, Call] = {}
        self.finished: Counter[int] = Counter()
        self.log: list[Entry] = []
        self.kills = 0
        self.is_server_down = False
        self._server_died = 0.0

    @property
    def total(self) -> int:
        """How many calls the recursion has."""
        return max(self.n, 1)

    @property
    def begun(self) -> float | None:
        """When the first call started."""
        return self.calls[self.n].begun if self.calls else None

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
            return "waits"
        if smaller is None and n > 1 and MOMENT < time - call.begun < self.pace:
            return "pauses"
        return "needs a worker" if call.worker in self.dead else "runs"

    def running(self, worker: str, time: float) -> list[int]:
        """Return the calls that a worker is running at a time."""
        calls = [n for n, call in self.calls.items() if call.worker == worker]
        return [n for n in calls if self.state(n, time) == "runs"]

    def notice(self, time: float, text: str) -> None:
        """Record an event."""
        self.log.append(Entry(time, "demo", text))

    def printed(self, time: float, source: str, line: str) -> None:
        """Record a line that a process printed."""
        self.log.append(Entry(time, source, line))
        match = CALL.fullmatch(line)
        if source not in self.workers or match is None:
            return
        n, value = int(match[1]), match[2]
        call = self.calls.setdefault(n, Call(source, time))
        if value is not None:
            call.value = value
            self.finished[n] += 1
        else:
            call.worker = source
            if n in self.lost:
                after = _seconds(time - self.lost.pop(n))
                self.notice(time, f"{source.capitalize()} restarted {n} after {after}.")

    def worker_died(self, time: float, worker: str) -> None:
        """Record that a worker was killed."""
        lost = self.running(worker, time)
        self.lost |= dict.fromkeys(lost, time)
        self.dead.add(worker)
        self.kills += 1
        stored = sum(call.value is None for call in self.calls.values()) - len(lost)
        calls = "1 stored call" if stored == 1 else f"{stored} stored calls"
        ran = f"Only {lost[0]} was running" if lost else "It was not running a call"
        self.notice(time, f"{worker.capitalize()} was killed. {ran}. {calls} noticed nothing.")

    def server_died(self, time: float) -> None:
        """Record that the server was killed."""
        self.is_server_down = True
        self._server_died = time
        self.kills += 1
        self.notice(time, "The server was killed and is restarting.")

    def server_restarted(self, time: float) -> None:
        """Record that the server runs again."""
        self.is_server_down = False
        down = _seconds(time - self._server_died)
        self.notice(time, f"The server was down for {down}. All stored calls were still there.")


def _seconds(time: float) -> str:
    """Write a length of time as the page does."""
    return f"{round(time * 1000)} ms" if time < 1 else f"{time:.1f} s"
