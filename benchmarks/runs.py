"""The measured runs. Each run has its own server, which starts without data."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.restate import restate
from benchmarks.usage import cpu, peak_memory
from demo.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from demo.processes import Process

WORKERS = 3
# The plain SDK keeps Python's limit of 4,300 digits, which the result for n = 1559 exceeds.
PYTHON = [sys.executable, "-X", "int_max_str_digits=0"]

PATIENCE = 1800.0


@dataclass(frozen=True)
class Contender:
    """A server, and how the workers and the client connect to it.

    Args:
        resonate: the binary of a real legacy Resonate server. None runs the devserver.
        restate: the binary of a Restate server, which has workers on Restate's own SDK.
        plain: whether the programs use the SDK's own connection instead of the connection of the
            two scripts.
        watched: whether the devserver's page is open.
    """

    resonate: str | None = None
    restate: str | None = None
    plain: bool = False
    watched: bool = False

    @property
    def name(self) -> str:
        """The contender's name in tables."""
        if self.restate is not None:
            return "Restate"
        server = "devserver" if self.resonate is None else "resonate"
        how = "plain SDK" if self.plain else "watched" if self.watched else "as it is"
        return f"{server}, {how}"


@dataclass(frozen=True)
class Recursion:
    """The time and memory that a run of the recursion took.

    Args:
        ms_per_level: wall-clock milliseconds for each level, from the client's dispatch to its
            result.
        server_ms: CPU milliseconds of the server for each level.
        worker_ms: CPU milliseconds of all workers together for each level.
        server_mb: the most memory that the server had (megabytes).
        worker_mb: the most memory that one of the workers had (megabytes).
    """

    ms_per_level: float
    server_ms: float
    worker_ms: float
    server_mb: float
    worker_mb: float


def recursion(contender: Contender, n: int) -> Recursion:
    """Compute the factorial of n."""
    if contender.restate is not None:
        with restate(contender.restate, WORKERS) as other:
            return _recursion(other.server, other.workers, n, lambda: other.factorial(n))
    with _cluster(contender) as cluster:
        return _recursion(
            cluster.server,
            cluster.workers,
            n,
            lambda: _client(cluster, "factorial", str(n)),
        )


def small_calls(contender: Contender, count: int, at_once: int) -> float:
    """Make many independent calls.

    Args:
        contender: the contender to measure.
        count: how many calls.
        at_once: how many of them run at any time.

    Returns:
        Calls per second.
    """
    with _cluster(contender) as cluster:
        return count / _client(cluster, "small", str(count), str(at_once))


def recovery(contender: Contender) -> float:
    """Kill the worker that runs a call in the middle of a run.

    Returns:
        The seconds from the kill until the others are two levels further down.
    """
    with _cluster(contender) as cluster:
        client = cluster.start_client(100)
        victim = cluster.wait_for_worker("factorial(50)")
        victim.kill()
        begin = time.perf_counter()
        cluster.wait_for_worker("factorial(48)")
        took = time.perf_counter() - begin
        client.wait(PATIENCE)
        return took


def starts() -> dict[str, float]:
    """Start the devserver, and a client up to its first line of code.

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
def _cluster(contender: Contender) -> Iterator[Cluster]:
    with Cluster(contender.resonate) as cluster:
        cluster.start_workers(WORKERS)
        if contender.watched:
            watcher = cluster.launch("watcher", [sys.executable, "-m", "benchmarks.watcher"])
            watcher.wait_for("watching")
        yield cluster


def _recursion(
    server: Process, workers: list[Process], n: int, compute: Callable[[], float]
) -> Recursion:
    """Measure the processes while one of them computes the factorial of n (in seconds)."""
    before = cpu(server), sum(map(cpu, workers))
    took = compute()
    return Recursion(
        ms_per_level=took * 1000 / n,
        server_ms=(cpu(server) - before[0]) * 1000 / n,
        worker_ms=(sum(map(cpu, workers)) - before[1]) * 1000 / n,
        server_mb=peak_memory(server),
        worker_mb=max(map(peak_memory, workers)),
    )


def _client(cluster: Cluster, *what: str) -> float:
    """Run a client, and return the seconds that it measured for its calls."""
    command = [*PYTHON, "-m", "benchmarks.client", *what]
    client = cluster.launch("client", command)
    client.wait(PATIENCE)
    client.wait_for("took")
    return float(client.output[-1].removeprefix("took "))
