"""The two scripts as programs: their imports, their output, how they end."""

from __future__ import annotations

import ast
import math
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from tests.programs import FAR, ROOT, run

if TYPE_CHECKING:
    from resonate.models.store import PromiseStore

    from demo.cluster import Cluster


@pytest.mark.parametrize("script", ["factorial_worker.py", "factorial_client.py"])
def test_a_script_imports_only_the_sdk_and_the_standard_library(script: str) -> None:
    nodes = list(ast.walk(ast.parse((ROOT / script).read_text())))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)]
    assert {name.split(".")[0] for name in names} - sys.stdlib_module_names == {"resonate"}


@pytest.mark.parametrize("n", ["-1", "10001"])
def test_the_client_takes_numbers_up_to_10000_only(n: str) -> None:
    client = run("factorial_client.py", "--", n)
    assert (client.wait(), client.output) == (2, [])
    assert client.printed("n must be from 0 to 10000")


def test_a_worker_prints_its_calls_and_their_results(cluster: Cluster) -> None:
    (worker,) = cluster.start_workers(1)
    client = cluster.start_client(3)
    assert (client.wait(), client.output, client.errors) == (0, ["Result: 6"], [])
    worker.send_signal(signal.SIGINT)
    assert worker.wait() == 0
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


def test_ctrl_c_ends_the_client_but_not_its_call(cluster: Cluster) -> None:
    (worker,) = cluster.start_workers(1, pace=0.1)
    client = cluster.start_client(10)
    worker.wait_for("factorial(8)")
    client.send_signal(signal.SIGINT)
    assert (client.wait(), client.output) == (130, [])
    assert client.errors == ["Interrupted. The workers go on; run the client again for the result."]
    again = cluster.start_client(10)
    assert (again.wait(), again.output) == (0, ["Result: 3628800"])
    assert worker.output.count("factorial(10)") == 1


def test_a_result_may_have_more_than_4300_digits(cluster: Cluster, promises: PromiseStore) -> None:
    sys.set_int_max_str_digits(0)
    promises.create("factorial-1598", FAR, ikey="factorial-1598")
    promises.resolve("factorial-1598", data=str(math.factorial(1598)))
    (worker,) = cluster.start_workers(1)
    client = cluster.start_client(1600)
    assert (client.wait(), client.output) == (0, [f"Result: {math.factorial(1600)}"])
    worker.wait_for("factorial(1600) = 527197994241212221...0000000000000000000")


def test_a_failed_call_is_one_line(cluster: Cluster, promises: PromiseStore) -> None:
    cluster.start_workers(1)
    promises.create("factorial-7", FAR, ikey="factorial-7")
    client = cluster.start_client(9)
    promises.reject("factorial-7", data='{"__error__": "no luck today"}')
    assert (client.wait(), client.output) == (1, [])
    assert client.errors == ["factorial(9) failed: Exception('no luck today')"]
