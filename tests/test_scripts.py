"""The two scripts as programs: their command lines, their output, how they end."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from cluster import ROOT

if TYPE_CHECKING:
    from cluster import Cluster


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / script, *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("n", ["-1", "1.5", "ten", "", "1e3", "10001"])
def test_the_client_refuses_what_is_no_whole_number(n: str) -> None:
    client = run("factorial_client.py", "--", n)
    assert (client.returncode, client.stdout) == (2, "")
    assert "is not a whole number from 0 to 10000" in client.stderr


def test_the_client_needs_a_number() -> None:
    client = run("factorial_client.py")
    assert (client.returncode, client.stdout) == (2, "")


@pytest.mark.parametrize("pace", ["-1", "nan", "inf", "slow"])
def test_the_worker_refuses_what_is_no_pace(pace: str) -> None:
    worker = run("factorial_worker.py", f"--pace={pace}")
    assert (worker.returncode, worker.stdout) == (2, "")
    assert f"argument --pace: invalid seconds value: '{pace}'" in worker.stderr


def test_a_worker_shows_what_it_does(cluster: Cluster) -> None:
    (worker,) = cluster.start_workers(1)
    cluster.start_client(3).wait()
    worker.stop()
    assert worker.output == [
        "Factorial worker is running...",
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
def test_a_worker_ends_at_once_and_plainly(cluster: Cluster, number: int, busy: bool) -> None:
    (worker,) = cluster.start_workers(1, pace=60)
    if busy:
        cluster.start_client(5)
        worker.wait_for("factorial(5)")
    worker.send_signal(number)
    assert worker.wait(timeout=5) == 0
    assert worker.output[-1] == "Factorial worker stopped."
    assert worker.errors == []


def test_numbers_may_be_long(cluster: Cluster) -> None:
    """1600! has more digits than the 4,300 that Python prints by itself."""
    (worker,) = cluster.start_workers(1)
    client = cluster.start_client(1600)
    assert client.wait() == 0
    worker.stop()
    sys.set_int_max_str_digits(0)
    digits = str(math.factorial(1600))
    assert client.output == [f"Result: {digits}"]
    shown = f"{digits[:10]}...{digits[-10:]} ({len(digits)} digits)"
    assert f"factorial(1600) = {shown}" in worker.output
