"""`--crash-everywhere`: kills processes at each step of the protocol, and checks every answer."""

from __future__ import annotations

import json
import math
import re
import signal
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import groupby
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.request import urlopen

from demo.cluster import Cluster
from demo.processes import PATIENCE, Process, ProcessError
from demo.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

# The kinds of crashes, which are the columns of the table: which process is killed, and when.
KINDS = [
    ("worker", "before"),
    ("worker", "after"),
    ("server", "before"),
    ("server", "after"),
    ("both", "before"),
    ("both", "after"),
    ("client", "before"),
]
LEGEND = """
Each row is a step of the protocol. Each column is a crash: the process that is
killed, before the request reaches the server, or after the server has carried it
out and before its answer arrives. In the steps of the client, the client is killed
instead of a worker. A number means that this call ran again; which calls do varies
from run to run. A cell is empty if the crash cannot happen at that step.
"""
# How many runs to start at the same time. With a real server, most of the time is spent on waiting
# for leases to expire.
SIDE_BY_SIDE, SIDE_BY_SIDE_OF_RESONATE = 4, 12
# How many runs to try until one reaches a point: workers overtake each other.
TRIES = 5
# The line that a worker prints when it starts to run a call.
CALL = re.compile(r"\w+\((\d+)\)")


class Programs(NamedTuple):
    """The scripts of a worker and a client, with arguments, and what the client must print."""

    worker: list[str]
    client: list[str]
    result: str

    @classmethod
    def factorial(cls, scripts: Path, n: int) -> Self:
        """Return the tutorial's scripts, which are in this folder."""
        worker, client = (
            str(scripts.absolute() / f"factorial_{part}.py") for part in ("worker", "client")
        )
        return cls([worker], [client, str(n)], f"Result: {math.factorial(n)}")


class Point(NamedTuple):
    """A step of the protocol, and the process that is killed there.

    Args:
        step: the kind of request or message, and its promise, like `claim factorial-3`.
            The second time that it occurs in a run, it is `claim factorial-3 #2`.
        victim: `worker` is the process that sends the request or receives the message, even if
            that is the client. `both` is that process and the server.
        moment: `before` the request reaches the server, or `after` the server has carried it out
            and before the answer arrives. For a message: `before` it arrives.
    """

    step: str
    victim: str
    moment: str

    def __str__(self) -> str:
        return f"{self.step}, {self.victim} killed {self.moment}"


class CrashSearch:
    """Runs some programs once without a crash, and then once for each crash point.

    Args:
        programs: what to run.
        resonate: the binary of a real legacy Resonate server; None runs the devserver.
        workers: how many workers each run has.
    """

    def __init__(self, programs: Programs, resonate: str | None = None, workers: int = 3) -> None:
        self.programs = programs
        self.resonate = resonate
        self.workers = workers
        self.is_stopped = Event()
        self._promises: dict[str, Any] = {}

    def record(self) -> list[Point]:
        """Run the programs without a crash.

        Returns:
            All crash points: by step, and by kind of crash.

        Raises:
            ProcessError: the run was wrong even without a crash.
        """
        run = CrashRun(self, None).run()
        if run.faults:
            raise ProcessError(f"without a crash: {run.faults[0]}")
        self._promises = run.promises
        return [
            Point(step, victim, moment)
            for step in dict.fromkeys(step for step, _ in run.steps)
            for victim, moment in KINDS
            if (party := run.steps.get((step, moment))) and not victim == party == "client"
        ]

    def crash(self, points: Sequence[Point]) -> Generator[tuple[Point, CrashRun]]:
        """Run the programs once for each point, several at the same time.

        Closing the generator stops the runs that have not ended.

        Yields:
            Each point with its run.
        """
        side_by_side = SIDE_BY_SIDE if self.resonate is None else SIDE_BY_SIDE_OF_RESONATE
        with ThreadPoolExecutor(side_by_side) as pool:
            try:
                yield from zip(points, pool.map(self._crash_at, points), strict=True)
            except BaseException:
                self.is_stopped.set()
                pool.shutdown(cancel_futures=True)
                raise

    def _crash_at(self, point: Point) -> CrashRun:
        for _ in range(TRIES):
            run = CrashRun(self, point).run()
            if run.crashed or run.faults:
                break
        for name in self._promises | run.promises:
            before, now = self._promises.get(name), run.promises.get(name)
            if before != now and not run.faults:
                run.faults.append(f"promise {name} is {now}; without a crash, it is {before}")
        return run


class CrashRun:
    """One run of some programs, with at most one crash.

    Args:
        search: tells what to run.
        point: where to kill.

    Attributes:
        steps: the steps and moments as in a `Point`, in their order, each with the name of the
            process.
        crashed: the time of the crash (seconds); None if the run did not reach the point.
        recovery: from the crash to the client's answer (seconds).
        again: the numbers of the calls that ran more than once.
        promises: the server's promises at the end, without their times.
        faults: each thing that went wrong; empty if the run was right.
    """

    def __init__(self, search: CrashSearch, point: Point | None) -> None:
        self.steps: dict[tuple[str, str], str] = {}
        self.crashed: float | None = None
        self.recovery = 0.0
        self.again: list[str] = []
        self.promises: dict[str, Any] = {}
        self.faults: list[str] = []
        self._search = search
        self._point = point
        self._seen: Counter[tuple[str, str]] = Counter()
        self._proxy = Proxy(self._pass)
        self._processes: list[Process] = []
        self._news = Event()  # a process has printed a line, or has ended

    def run(self) -> Self:
        """Run the programs, restart what was killed, and check everything at the end."""
        search, listener = self._search, lambda *_: self._news.set()
        try:
            with self._proxy, Cluster(Path(), search.resonate, listener) as self._cluster:
                self._proxy.ports = self._cluster.port, self._cluster.poll_port
                self._processes.append(self._cluster.server)
                for worker in [self._start(f"worker {i + 1}") for i in range(search.workers)]:
                    worker.wait_for("is running")
                self._start("client")
                deadline = time.monotonic() + PATIENCE
                while not self._is_over():
                    self._news.wait(0.5)
                    self._news.clear()
                    if search.is_stopped.is_set() or time.monotonic() > deadline:
                        raise ProcessError("there was no answer")  # noqa: TRY301
                self._judge()
        except ProcessError as e:
            self.faults.append(str(e))
        return self

    def _start(self, name: str) -> Process:
        programs = self._search.programs
        script = programs.client if name == "client" else programs.worker
        port = str(self._proxy.port_for(name))
        env = {"RESONATE_PORT_STORE": port, "RESONATE_PORT_MESSAGE_SOURCE": port}
        with self._proxy.lock:  # until the process is known, none of its steps passes
            process = self._cluster.launch(name, [sys.executable, *script], env)
            self._processes.append(process)
        return process

    def _last(self, name: str) -> Process:
        return next(process for process in reversed(self._processes) if process.name == name)

    def _pass(self, step: str, party: str, moment: str) -> bool:
        """Kill if this step is the point, and return whether the proxy should forward it."""
        self._seen[step, moment] += 1
        if (seen := self._seen[step, moment]) > 1:
            step = f"{step} #{seen}"
        self.steps[step, moment] = party
        if not self._point or (step, moment) != (self._point.step, self._point.moment):
            return True
        victim = self._point.victim
        names = {"worker": [party], "both": [party, "server"]}.get(victim, [victim])
        victims = [self._last(name) for name in names]
        if not victims[0].alive:  # the client has ended
            return True
        self._point = None
        self.crashed = time.monotonic()
        for process in victims:
            process.send_signal(signal.SIGKILL)
        for process in victims:
            process.wait()
        return victim == "client"

    def _is_over(self) -> bool:
        """Restart the killed processes, and tell whether the client has ended by itself.

        Raises:
            ProcessError: the server or a worker has ended by itself.
        """
        for process in self._processes:
            if process.name != "client" and not process.alive and not _is_killed(process):
                raise ProcessError(process.ending)
        workers = [it for it in self._processes if it.name.startswith("worker")]
        if _is_killed(self._last("server")):
            self._cluster.start_server()
            self._processes.append(self._cluster.server)
        if _is_killed(self._last("client")):
            self._start("client")
        if all(map(_is_killed, workers)):
            self._start(f"worker {len(workers) + 1}")
        with self._proxy.lock:  # no process is killed meanwhile
            server, client = self._last("server"), self._last("client")
            if client.alive or _is_killed(client) or _is_killed(server):
                return False
            self._point = None
            return True

    def _judge(self) -> None:
        client = self._last("client")
        if self.crashed:
            self.recovery = time.monotonic() - self.crashed
        if client.wait() != 0 or client.output != [self._search.programs.result]:
            self.faults.append(client.ending)
        lines = [line for process in self._processes for line in process.output]
        calls = Counter(call[1] for line in lines if (call := CALL.fullmatch(line)))
        self.again = [call for call, count in calls.items() if count > 1]
        with urlopen(f"{self._cluster.url}/promises?id=*&limit=100") as answer:  # noqa: S310
            promises = json.load(answer)["promises"]
        parts = ("state", "param", "value")
        self.promises = {it["id"]: {part: it[part] for part in parts} for it in promises}


def crash_everywhere(scripts: Path, n: int, resonate: str | None, workers: int) -> int:
    """Try all crash points of the tutorial's scripts, and print a table.

    Args:
        scripts: the folder of the scripts.
        n: the number whose factorial is computed.
        resonate: the binary of a real legacy Resonate server; None runs the devserver.
        workers: how many workers each run has.

    Returns:
        The exit code: 1 if any run was wrong.

    Raises:
        ProcessError: the scripts fail without a crash.
    """
    search = CrashSearch(Programs.factorial(scripts, n), resonate, workers)
    points = search.record()
    print(f"{LEGEND}\n{len(points)} crash points, several at a time:")
    _print_row("", [victim for victim, _ in KINDS])
    _print_row("step", [moment for _, moment in KINDS])
    runs: list[CrashRun] = []
    with closing(search.crash(points)) as tried:
        for step, group in groupby(tried, key=lambda pair: pair[0].step):
            row = {(point.victim, point.moment): run for point, run in group}
            _print_row(step, [_cell(row[kind]) if kind in row else "" for kind in KINDS])
            for kind, run in row.items():
                for fault in run.faults:
                    print(f"{Point(step, *kind)}: {fault}")
            runs += row.values()
    recoveries = [run.recovery for run in runs if run.crashed]
    wrong = sum(bool(run.faults) for run in runs)
    print(
        f"\n{len(recoveries)} crash points, {wrong or 'no'} wrong answer{'s' * (wrong != 1)}; "
        f"{sum(len(run.again) for run in runs)} calls ran again; "
        f"the slowest recovery took {max(recoveries, default=0):.1f} s"
    )
    return 1 if wrong else 0


def _is_killed(process: Process) -> bool:
    return not process.alive and process.wait() == -signal.SIGKILL


def _cell(run: CrashRun) -> str:
    if run.faults:
        return "WRONG"
    return f"ok {','.join(run.again)}" if run.crashed else "-"


def _print_row(step: str, cells: list[str]) -> None:
    print(f"{step:<29}{''.join(f'{cell:<7}' for cell in cells)}".rstrip(), flush=True)
