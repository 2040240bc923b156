"""Runs a recursion, kills processes at chosen steps, and judges the result."""

from __future__ import annotations

import json
import re
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Self, override
from urllib.request import urlopen

from demo.cluster import Cluster
from demo.crashes.points import Outcome
from demo.processes import PATIENCE, Process, ProcessError
from demo.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from demo.crashes.points import Point, Recursion
    from demo.processes import Listener
    from demo.proxy import Moment, Passage

WORKERS = 3
# How long after a restart of the server a client may fail to reach it (seconds). A client that has
# never reached a server gives up soon, and tells the user to start it.
SETTLE = 5.0
# The line that a worker of the tutorial prints when it starts to run a call.
CALL = re.compile(r"\w+\(\d+\)")
# The two ports in the first line that devserver prints.
PORTS = re.compile(r"http://127\.0\.0\.1:(\d+)")


class CrashCluster(Cluster):
    """A cluster that kills processes at given points, with a proxy in front of its server.

    It is a context manager like `Cluster`. On entry, the server and the workers start; `run`
    starts the client.

    Args:
        recursion: what to run.
        points: where to kill, in this order.
        resonate: the binary of a real legacy Resonate server; None runs the devserver.
        workers: how many workers to start.
        pace: how long the proxy holds each step (seconds).
        listener: called with each line of each process; see `Process`.
        onlooker: called with each step, on the proxy's thread.
    """

    def __init__(
        self,
        recursion: Recursion,
        points: Sequence[Point] = (),
        *,
        resonate: str | None = None,
        workers: int = WORKERS,
        pace: float = 0,
        listener: Listener = lambda _process, _line: None,
        onlooker: Callable[[Passage], None] = lambda _passage: None,
    ) -> None:
        super().__init__(resonate, self._heard)
        self._tell = listener
        self._onlooker = onlooker
        self._recursion = recursion
        self._points = list(points)
        self._count = workers
        self._seen: Counter[tuple[str, Moment]] = Counter()
        self._open_tasks: set[tuple[str, str]] = set()  # each worker, and the promise of its task
        self._killed: list[Process] = []
        self._named: dict[str, Process] = {}
        self._is_aborted = False
        self._proxy = Proxy(self._pass, pace)
        self._server_started = self._client_started = 0.0
        self.outcome = Outcome()

    @override
    def __enter__(self) -> Self:
        self._cleanup.enter_context(self._proxy)
        super().__enter__()
        try:
            self._start_workers(self._count)
        except BaseException:
            self._cleanup.close()
            raise
        return self

    @override
    def start_server(self) -> None:
        """Start the server, and tell the proxy its ports.

        While the server is down, another program could take its ports. So the devserver chooses
        new ones at each start; the workers know only the ports of the proxy.
        """
        if self._resonate is None:
            self.port = self.poll_port = 0
        super().start_server()
        if self._resonate is None:
            self.port, self.poll_port = map(int, PORTS.findall(self.server.output[0]))
        self._proxy.ports = self.port, self.poll_port
        self._server_started = time.monotonic()

    @override
    def env_of(self, name: str) -> dict[str, str]:
        if name == "server":
            return self.env
        api, poll = self._proxy.ports_for(name)
        self._named.pop(name, None)  # a killed client, which the new client replaces
        ports = {"RESONATE_PORT_STORE": str(api), "RESONATE_PORT_MESSAGE_SOURCE": str(poll)}
        return self.env | ports

    @override
    def launch(self, name: str, command: Sequence[str]) -> Process:
        process = super().launch(name, command)
        with self._changed:
            self._named[name] = process
            self._changed.notify_all()
        return process

    def run(self) -> Outcome:
        """Run the recursion, restart killed processes, and check everything at the end."""
        self._start_client()
        try:
            while not self._is_over():
                self._wait_for_news()
                self._restart()
            self._judge()
        except ProcessError as e:
            self.outcome.faults.append(str(e))
        return self.outcome

    def abort(self) -> None:
        """End the run soon; from any thread."""
        with self._changed:
            self._is_aborted = True
            self._changed.notify_all()

    @property
    def has_crashed(self) -> bool:
        """Whether the run has reached all the points."""
        return not self._points

    def _start_client(self) -> None:
        self._client_started = time.monotonic()
        self.launch("client", self._recursion.client)

    def _start_workers(self, count: int) -> None:
        workers = [
            self.launch(f"worker {len(self.workers) + number + 1}", self._recursion.worker)
            for number in range(count)
        ]
        self.workers += workers
        for worker in workers:
            worker.wait_for("is running")

    def _heard(self, process: Process, line: str | None) -> None:
        if process.name == "client" and line == self._recursion.result:
            self.outcome.answered = time.monotonic()
        self._tell(process, line)

    # These run on the proxy's thread, at each step.

    def _pass(self, passage: Passage) -> bool:
        """Kill at the next point, if this is it.

        Returns:
            Whether the proxy should forward the request, the answer or the message.
        """
        with self._changed:  # a new process may send a request before `launch` returns
            self._changed.wait_for(lambda: passage.party in self._named)
        self.outcome.passages.append((time.monotonic(), passage))
        self._onlooker(passage)
        self._seen[passage.step, passage.moment] += 1
        forward = True
        if self._points and self._is_at(self._points[0], passage):
            forward = self._crash(passage)
        if forward:
            self._note_task(passage)
        with self._changed:
            self._changed.notify_all()
        return forward

    def _is_at(self, point: Point, passage: Passage) -> bool:
        client = self._named.get("client")
        if point.victim == "client" and not (client and client.alive):
            return False
        seen = self._seen[passage.step, passage.moment]
        return (point.step, point.moment, point.occurrence) == (passage.step, passage.moment, seen)

    def _crash(self, passage: Passage) -> bool:
        point = self._points.pop(0)
        names = {
            "worker": [passage.party],
            "server": ["server"],
            "both": ["server", passage.party],
            "client": ["client"],
        }[point.victim]
        victims = [self._named[name] for name in names]
        self._killed += victims
        if "server" in names:
            self._proxy.ports = None
        for victim in victims:
            victim.send_signal(signal.SIGKILL)
        for victim in victims:
            victim.wait()
            self._open_tasks = {task for task in self._open_tasks if task[0] != victim.name}
        self.outcome.crashes.append(time.monotonic())
        self._seen.clear()
        return point.victim == "client"

    def _note_task(self, passage: Passage) -> None:
        if self._named[passage.party] in self._killed or passage.moment != "after":
            return  # a process that was killed cannot read the answer
        verb, _, name = passage.step.partition(" ")
        task = (passage.party, name.removeprefix("task "))
        if verb == "claim" and passage.status < 300:
            self._open_tasks.add(task)
        elif verb in {"complete", "drop", "resolve", "reject", "cancel"}:
            self._open_tasks.discard(task)  # a promise and its tasks are completed together

    # These run on the caller's thread.

    def _wait_for_news(self) -> None:
        with self._changed:
            if not self._changed.wait_for(self._has_news, PATIENCE):
                raise ProcessError(f"no result within {PATIENCE:.0f} s")
        if self._is_aborted:
            raise ProcessError("stopped")

    def _has_news(self) -> bool:
        return self._is_aborted or self._is_over() or bool(self._dead())

    def _is_over(self) -> bool:
        """Tell whether the client has ended by itself and no worker has a claimed task."""
        if self._named["client"].alive or self._dead():
            return False
        return not self._open_tasks or not self.outcome.answered

    def _dead(self) -> list[str]:
        """Return the names of the killed processes that the run needs."""
        dead = [name for name in ("server", "client") if self._named[name] in self._killed]
        if self._has_given_up():
            dead.append("client")
        if all(worker in self._killed for worker in self.workers):
            dead.append("worker")
        return dead

    def _has_given_up(self) -> bool:
        """Tell whether the client has ended because no server answered when it started."""
        client = self._named["client"]
        return (
            not client.alive
            and not self.outcome.answered
            and client.printed("Resonate server at")
            and bool(self.outcome.crashes)
            and self._client_started < self._server_started + SETTLE
        )

    def _restart(self) -> None:
        for name in self._dead():
            if name == "server":
                self._restart_server()
            elif name == "client":
                self._start_client()
            else:
                self._start_workers(1)

    def _restart_server(self) -> None:
        try:
            self.start_server()
        except ProcessError:
            # The new server was killed too, when an answer of the old server passed the proxy.
            if self.server not in self._killed:
                raise

    def _judge(self) -> None:
        outcome, client = self.outcome, self._named["client"]
        if client.wait() != 0 or client.output != [self._recursion.result]:
            said = " ".join(client.output + client.errors)
            outcome.faults.append(
                f"the client exited with {client.wait()} and printed: {said[-200:]}"
            )
        outcome.promises = self._promises()
        calls = Counter(
            line for worker in self.workers for line in worker.output if CALL.fullmatch(line)
        )
        outcome.again = calls - Counter(set(calls))
        for process in [*self.workers, self.server]:
            if process not in self._killed:
                self._check_survivor(process)

    def _promises(self) -> dict[str, Any]:
        """Read all promises from the server, without the fields that hold times."""
        with urlopen(f"{self.url}/promises?id=*&limit=100") as answer:  # noqa: S310 - the server's
            promises = json.load(answer)["promises"]
        parts = ("state", "param", "value")
        return {promise["id"]: {part: promise[part] for part in parts} for promise in promises}

    def _check_survivor(self, process: Process) -> None:
        was_alive = process.alive
        process.send_signal(signal.SIGTERM)
        if process.wait() not in {0, -signal.SIGTERM} or not was_alive:
            said = " ".join(process.errors)
            self.outcome.faults.append(
                f"{process.name} exited with {process.wait()} and printed: {said[-200:]}"
            )
