"""The server's speed and memory when it stores many finished promises."""

from __future__ import annotations

import http.client
import json
import statistics
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.usage import peak_memory
from demo.cluster import ROOT, free_ports
from demo.processes import Process
from devserver.models import CompletePromise, CreatePromise, CreatePromiseAndTask, TaskClaimer
from devserver.store import promises
from devserver.store.database import open_database, transaction
from devserver.store.promises import Caller

if TYPE_CHECKING:
    from pathlib import Path

SAMPLES = 300
FAR = 2**42  # a timeout in the year 2109 (ms since the epoch)
INVOKE = {"resonate:invoke": "poll://any@workers"}


@dataclass(frozen=True)
class Growth:
    """The speed and size of devserver with a number of finished promises.

    Args:
        start: from the launch of the process to its greeting, in seconds.
        get_ms: a request that reads one of the promises; the median.
        create_ms: a request that creates a promise; the median.
        server_mb: the most memory that the server had (megabytes).
        file_mb: the size of its file (megabytes).
    """

    start: float
    get_ms: float
    create_ms: float
    server_mb: float
    file_mb: float


def fill(path: Path, count: int) -> None:
    """Write a file of finished promises, each with a finished task."""
    with closing(open_database(str(path))) as db:
        now = time.time_ns() // 1_000_000
        resolve = CompletePromise("RESOLVED")
        with transaction(db):
            for i in range(count):
                request = CreatePromiseAndTask(
                    CreatePromise(f"promise-{i}", timeout=FAR, tags=INVOKE), TaskClaimer("worker")
                )
                promises.create_with_task(db, request, Caller(), now)
                promises.complete(db, f"promise-{i}", resolve, Caller(), now)


def growth(path: Path, count: int) -> Growth:
    """Start the devserver on a file that `fill` made, and measure it."""
    port, poll_port = free_ports(2)
    command = [sys.executable, "-m", "devserver", "--db", str(path)]
    command += ["--port", str(port), "--poll-port", str(poll_port)]
    begin = time.perf_counter()
    with Process("server", command, cwd=ROOT) as server:
        server.wait_for("Data in")
        start = time.perf_counter() - begin
        with closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
            numbers = range(0, count, max(count // SAMPLES, 1))
            gets = [_request(connection, "GET", f"/promises/promise-{i}") for i in numbers]
            unique = time.time_ns()
            creates = [
                _request(connection, "POST", "/promises", {"id": f"{unique}.{i}", "timeout": FAR})
                for i in range(SAMPLES)
            ]
        return Growth(
            start=start,
            get_ms=statistics.median(gets),
            create_ms=statistics.median(creates),
            server_mb=peak_memory(server),
            file_mb=path.stat().st_size / 1e6,
        )


def _request(
    connection: http.client.HTTPConnection, method: str, path: str, body: object = None
) -> float:
    """Send a request, and return the milliseconds until its answer was read."""
    content = None if body is None else json.dumps(body)
    begin = time.perf_counter()
    connection.request(method, path, content, {"content-type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    took = time.perf_counter() - begin
    if answer.status not in {200, 201}:
        raise RuntimeError(f"{method} {path} was answered {answer.status}")
    return took * 1000
