"""The two scripts as programs: their command lines, their output, how they end."""

from __future__ import annotations

import math
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from tests.programs import run

if TYPE_CHECKING:
    from demo.cluster import Cluster


@pytest.mark.parametrize(
    ("n", "words"),
    [(n, "invalid int value") for n in ("1.5", "ten", "", "1e3")]
    + [(n, "n must be from 0 to 10000") for n in ("-1", "10001")],
)
def test_the_client_takes_whole_numbers_up_to_10000_only(n: str, words: str) -> None:
    client = run("factorial_client.py", "--", n)
    assert (client.wait(), client.output) == (2, [])
    assert client.printed(words)


def test_the_client_needs_a_number() -> None:
    client = run("factorial_client.py")
    assert (client.wait(), client.output) == (2, [])


@pytest.mark.parametrize(
    ("pace", "words"),
    [("slow", "argument --pace: invalid float value: 'slow'")]
    + [(pace, "--pace must be from 0 to 3600 seconds") for pace in ("-1", "nan", "inf")],
)
def test_the_worker_takes_a_pace_of_up_to_an_hour_only(pace: str, words: str) -> None:
    worker = run("factorial_worker.py", f"--pace={pace}")
    assert (worker.wait(), worker.output) == (2, [])
    assert worker.printed(words)


def test_a_worker_prints_its_calls_and_their_results(cluster: Cluster) -> None:
    (worker,) = cluster.start_workers(1)
    cluster.start_client(3).wait()
    worker.stop()
    assert worker.output == [
        f"Factorial worker is running (pid {worker.pid})...",
        "factorial(3)",
        "factorial(2)",
        "factorial(1)",
        "factorial(1) = 1",
        "factorial(2) = 2",
        "factorial(3) = 6",
        "Factorial worker stopped.",
    ]
    assert worker.errors == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("busy", [True, False])
def test_a_signal_ends_a_worker_at_once(cluster: Cluster, number: int, busy: bool) -> None:
    (worker,) = cluster.start_workers(1, pace=60)
    if busy:
        cluster.start_client(5)
        worker.wait_for("factorial(5)")
    worker.send_signal(number)
    assert worker.wait() == 0
    assert worker.output[-1] == "Factorial worker stopped."
    assert worker.errors == []


def test_a_result_may_have_more_than_4300_digits(cluster: Cluster) -> None:
    """Python itself refuses to print them."""
    (worker,) = cluster.start_workers(1)
    client = cluster.start_client(1600)
    assert client.wait() == 0
    worker.stop()
    sys.set_int_max_str_digits(0)
    digits = str(math.factorial(1600))
    assert client.output == [f"Result: {digits}"]
    shown = f"{digits[:10]}...{digits[-10:]} ({len(digits)} digits)"
    assert f"factorial(1600) = {shown}" in worker.output
