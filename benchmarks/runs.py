"""The things that are measured, each on a server of its own without any data."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cluster import Process

WORKERS = 3
PATIENCE = 1800.0


@dataclass(frozen=True)
class Contender:
    """A server, and how the workers and the client are connected to it.

    Args:
        resonate: the binary of a real server; None takes the devserver.
        plain: whether the SDK's own connection is used, as `Resonate.remote` makes it, and not
            the one of the two scripts.
        watched: whether somebody has the devserver's page open.
    """

    resonate: str | None = None
    plain: bool = False
    watched: bool = False

    @property
    def name(self) -> str:
        """What tables call it."""
        server = "devserver" if self.resonate is None else "resonate"
        how = "plain SDK" if self.plain else "watched" if self.watched else "as it is"
        return f"{server}, {how}"


@dataclass(frozen=True)
class Recursion:
    """What a run of the recursion took.

    Args:
        ms_per_level: wall-clock milliseconds, from the client's dispatch to its result, for each
            level.
        server_ms: CPU milliseconds of the server for each level.
        worker_ms: the same of all workers together.
        server_mb: the most memory that the server had (megabytes).
        worker_mb: the same of the greatest worker.
    """

    ms_per_level: float
    server_ms: float
    worker_ms: float
    server_mb: float
    worker_mb: float


def recursion(contender: Contender, n: int) -> Recursion:
    """Compute the factorial of n."""
    with _cluster(contender) as (cluster, workers):
        server = cluster.server
        before = _cpu(server), sum(map(_cpu, workers))
        took = _client(cluster, contender, "factorial", str(n))
        return Recursion(
            ms_per_level=took * 1000 / n,
            server_ms=(_cpu(server) - before[0]) * 1000 / n,
            worker_ms=(sum(map(_cpu, workers)) - before[1]) * 1000 / n,
            server_mb=_peak(server),
            worker_mb=max(map(_peak, workers)),
        )


def small_calls(contender: Contender, at_once: int) -> float:
    """Make many calls that do not need each other.

    Args:
        contender: who is measured.
        at_once: how many calls are under way at any time.

    Returns:
        Calls per second.
    """
    count = 200 if at_once == 1 else 800
    with _cluster(contender) as (cluster, _):
        return count / _client(cluster, contender, "small", str(count), str(at_once))


def recovery(contender: Contender) -> float:
    """Kill the worker that is busy in the middle of a run.

    Returns:
        The seconds from the kill until the others are two levels further down.
    """
    with _cluster(contender) as (cluster, _):
        client = cluster.start_client(100)
        victim = cluster.wait_for_worker("factorial(50)")
        victim.kill()
        begin = time.perf_counter()
        cluster.wait_for_worker("factorial(48)", PATIENCE)
        took = time.perf_counter() - begin
        client.wait(PATIENCE)
        return took


def starts() -> dict[str, float]:
    """Start the devserver, and the client up to its first line of its own.

    Returns:
        The seconds that each took.
    """
    begin = time.perf_counter()
    with Cluster() as cluster:
        server = time.perf_counter() - begin
        begin = time.perf_counter()
        cluster.launch("client", [sys.executable, "-c", "import factorial_client"]).wait()
        return {"devserver": server, "client": time.perf_counter() - begin}


@contextmanager
def _cluster(contender: Contender) -> Iterator[tuple[Cluster, list[Process]]]:
    with Cluster(contender.resonate) as cluster:
        if contender.plain:
            command = [sys.executable, "-m", "benchmarks.plain_worker"]
            names = [f"worker {i + 1}" for i in range(WORKERS)]
            cluster.workers = [cluster.launch(name, command) for name in names]
            for worker in cluster.workers:
                worker.wait_for("is running")
        else:
            cluster.start_workers(WORKERS)
        if contender.watched:
            watcher = cluster.launch("watcher", [sys.executable, "-m", "benchmarks.watcher"])
            watcher.wait_for("watching")
        yield cluster, cluster.workers


def _client(cluster: Cluster, contender: Contender, *what: str) -> float:
    """Let a client make its calls, and hear from it how long they took (seconds)."""
    connection = "plain" if contender.plain else "plumbing"
    command = [sys.executable, "-m", "benchmarks.client", connection, *what]
    client = cluster.launch("client", command)
    client.wait(PATIENCE)
    client.wait_for("took")
    return float(client.output[-1].removeprefix("took "))


def _cpu(process: Process) -> float:
    times = psutil.Process(process.pid).cpu_times()
    return float(times.user + times.system)


def _peak(process: Process) -> float:
    """Say how much memory a living process has had at most; where that is not known, has now."""
    status = Path(f"/proc/{process.pid}/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1000
    return float(psutil.Process(process.pid).memory_info().rss) / 1e6
