"""The recursion with real processes: a server, workers, clients, and kills."""

from __future__ import annotations

import math
import signal
from collections import Counter
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from demo.cluster import Cluster
    from demo.processes import Process


def answer(client: Process) -> str:
    assert client.wait() == 0, client.errors
    assert all(line.startswith("Still waiting") for line in client.errors), client.errors
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


@pytest.mark.parametrize("n", [0, 1, 2, 10, 60])
def test_the_client_prints_the_factorial(cluster: Cluster, n: int) -> None:
    cluster.start_workers(2)
    assert answer(cluster.start_client(n)) == right_answer(n)


def test_all_workers_take_part(cluster: Cluster) -> None:
    workers = cluster.start_workers(3)
    assert answer(cluster.start_client(30)) == right_answer(30)
    assert all_started(cluster) == list(range(30, 0, -1))
    assert all(started(worker) for worker in workers)


def test_stored_results_are_not_computed_again(cluster: Cluster) -> None:
    cluster.start_workers(2)
    assert answer(cluster.start_client(12)) == right_answer(12)
    assert answer(cluster.start_client(12)) == right_answer(12)
    assert answer(cluster.start_client(7)) == right_answer(7)
    assert answer(cluster.start_client(14)) == right_answer(14)
    assert all_started(cluster) == list(range(14, 0, -1))


def test_a_stored_result_needs_no_worker(cluster: Cluster) -> None:
    (worker,) = cluster.start_workers(1)
    assert answer(cluster.start_client(5)) == right_answer(5)
    worker.stop()
    assert answer(cluster.start_client(4)) == right_answer(4)


def test_two_clients_share_their_common_calls(cluster: Cluster) -> None:
    workers = cluster.start_workers(2, pace=0.1)
    high = cluster.start_client(14)
    low = cluster.start_client(10)
    assert answer(high) == right_answer(14)
    assert answer(low) == right_answer(10)
    assert all(started(worker) for worker in workers)
    assert all_started(cluster) == list(range(14, 0, -1))


def test_a_killed_client_can_be_run_again(cluster: Cluster) -> None:
    (worker,) = cluster.start_workers(1, pace=0.05)
    client = cluster.start_client(10)
    worker.wait_for("factorial(7)")
    client.kill()
    assert answer(cluster.start_client(10)) == right_answer(10)
    assert all_started(cluster) == list(range(10, 0, -1))


def test_workers_with_different_paces_agree(cluster: Cluster) -> None:
    cluster.start_workers(1, pace=0.05)
    cluster.start_workers(1, pace=0)
    assert answer(cluster.start_client(12)) == right_answer(12)


def test_a_client_may_start_before_the_workers(cluster: Cluster) -> None:
    client = cluster.start_client(5)
    cluster.start_workers(1)
    assert answer(client) == right_answer(5)


@pytest.mark.parametrize("pace", [0, 0.05])
@pytest.mark.parametrize("moment", ["factorial(15)", "factorial(15) = "])
def test_a_run_survives_a_killed_worker(cluster: Cluster, moment: str, pace: float) -> None:
    cluster.start_workers(3, pace)
    client = cluster.start_client(30)
    victim = cluster.wait_for_worker(moment)
    victim.kill()
    assert answer(client) == right_answer(30)

    calls = Counter(all_started(cluster))
    assert set(calls) == set(range(1, 31)), "every call has run"
    taken_over = {call for call, times in calls.items() if times > 1}
    assert taken_over <= set(started(victim)), "other workers' calls do not run again"
    if "=" in moment:
        assert all(call >= 15 for call in taken_over), "stored results are not computed again"


def test_a_run_survives_the_death_of_all_workers(cluster: Cluster) -> None:
    first = cluster.start_workers(2, pace=0.05)
    client = cluster.start_client(20)
    cluster.wait_for_worker("factorial(10)")
    for worker in first:
        worker.kill()
    cluster.start_workers(2)
    assert answer(client) == right_answer(20)


@pytest.mark.parametrize("moment", ["factorial(50)", "factorial(50) = "])
def test_a_run_survives_a_killed_server(cluster: Cluster, moment: str) -> None:
    workers = cluster.start_workers(3)
    client = cluster.start_client(100)
    cluster.wait_for_worker(moment)
    cluster.server.kill()
    cluster.start_server()
    assert client.wait() == 0
    assert client.output == [right_answer(100)]
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait() == 0, "the worker survives the restart"


def test_other_workers_take_over_the_calls_of_a_hanging_worker(
    cluster: Cluster, server: str | None
) -> None:
    if server is not None:
        pytest.skip("a real server sends the calls of a hanging worker to it again, every minute")
    workers = cluster.start_workers(3)
    client = cluster.start_client(30)
    hanging = cluster.wait_for_worker("factorial(15)")
    hanging.send_signal(signal.SIGSTOP)
    assert client.wait() == 0
    assert client.output == [right_answer(30)]
    hanging.send_signal(signal.SIGCONT)
    # The server refuses its late requests, and the worker must survive that.
    assert answer(cluster.start_client(33)) == right_answer(33)
    assert answer(cluster.start_client(29)) == right_answer(29)
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait() == 0
