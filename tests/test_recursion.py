"""The recursion with real processes: a server, workers, clients, and kills."""

from __future__ import annotations

import math
import signal
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from demo.cluster import Cluster
    from demo.processes import Process


def answer(client: Process) -> str:
    assert client.wait() == 0, client.errors
    (line,) = client.output
    return line


def right_answer(n: int) -> str:
    return f"Result: {math.factorial(n)}"


def started(worker: Process) -> list[int]:
    """List the calls that a worker has started, in that order."""
    calls = (line for line in worker.output if line.startswith("factorial(") and "=" not in line)
    return [int(line[len("factorial(") : -1]) for line in calls]


def all_started(cluster: Cluster) -> list[int]:
    """Stop all workers, and list the calls that they have started, highest first."""
    for worker in cluster.workers:
        worker.stop()
    return sorted((n for worker in cluster.workers for n in started(worker)), reverse=True)


def test_all_workers_take_part_and_no_result_is_computed_twice(cluster: Cluster) -> None:
    workers = cluster.start_workers(3)
    for n in (30, 7, 34):
        assert answer(cluster.start_client(n)) == right_answer(n)
    assert all_started(cluster) == list(range(34, 0, -1))
    assert all(started(worker) for worker in workers)
    assert answer(cluster.start_client(33)) == right_answer(33), "needs no worker"


def test_two_clients_share_their_common_calls(cluster: Cluster) -> None:
    """One of them is killed and run again. The workers have different paces."""
    cluster.start_workers(1, pace=0.1)
    cluster.start_workers(1, pace=0.05)
    killed = cluster.start_client(14)
    cluster.wait_for_worker("factorial(12)")
    killed.kill()
    low, high = cluster.start_client(10), cluster.start_client(14)
    assert answer(high) == right_answer(14)
    assert answer(low) == right_answer(10)
    assert all_started(cluster) == list(range(14, 0, -1))


def test_a_run_survives_killed_workers(cluster: Cluster) -> None:
    """One is killed on the way down, one on the way up, and the third finishes the run."""
    cluster.start_workers(3, pace=0.02)
    client = cluster.start_client(30)
    down = cluster.wait_for_worker("factorial(15)")
    down.kill()
    up = cluster.wait_for_worker("factorial(15) = ")
    up.kill()
    assert answer(client) == right_answer(30)

    calls = Counter(all_started(cluster))
    assert set(calls) == set(range(1, 31)), "every call has run"
    taken_over = {call for call, times in calls.items() if times > 1}
    assert taken_over <= {*started(down), *started(up)}, "other workers' calls do not run again"
    assert all(call >= 15 for call in taken_over), "stored results are not computed again"


def test_a_run_survives_the_end_of_all_workers(cluster: Cluster, server: str | None) -> None:
    """One of them hangs. (A real server would send it its calls again, every minute.)"""
    first, second = cluster.start_workers(2, pace=0.05)
    client = cluster.start_client(20)
    cluster.wait_for_worker("factorial(15)")
    first.send_signal(signal.SIGSTOP if server is None else signal.SIGKILL)
    second.wait_for("factorial(8)")
    second.kill()
    cluster.start_workers(1)
    assert answer(client) == right_answer(20)


def test_a_run_survives_a_killed_server(cluster: Cluster) -> None:
    workers = cluster.start_workers(2)
    client = cluster.start_client(50)
    for moment in ("factorial(25)", "factorial(25) = "):
        cluster.wait_for_worker(moment)
        cluster.server.kill()
        cluster.start_server()
    assert answer(client) == right_answer(50)
    for process in [client, *workers]:
        assert all(line.startswith("Networking. Cannot connect to") for line in process.errors)
