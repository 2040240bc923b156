"""The programs that the docs tell you to save do what the pages say, even if a worker is killed."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

import pytest

from tests.pages import blocks, output_of
from tests.programs import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from demo.cluster import Cluster
    from demo.processes import Process

    type Start = Callable[[str], Process]

TRY = ROOT / "docs" / "things-to-try.md"
OWN = ROOT / "docs" / "write-your-own.md"


@pytest.fixture
def start(cluster: Cluster, tmp_path: Path) -> Start:
    """Run a script of the pages. If it is a worker, wait for its greeting."""
    for page in (TRY, OWN):
        for block in blocks(page, "python"):
            if name := re.search(r"`(\w+\.py)`", block.above):
                (tmp_path / name[1]).write_text(block.text + "\n")

    def run(command: str) -> Process:
        script, *arguments = command.removeprefix("uv run python ").split()
        process = cluster.launch(script, [sys.executable, str(tmp_path / script), *arguments])
        if "worker" in script:
            process.wait_for("is running")
        return process

    return run


def result(client: Process) -> str:
    assert client.wait() == 0, client.errors
    return "\n".join(client.output)


def test_fibonacci_computes_each_number_once(start: Start) -> None:
    workers = [start("fibonacci_worker.py") for _ in range(2)]
    client = "uv run python fibonacci_client.py"
    assert result(start(client)) == output_of(client, TRY)
    lines = sorted(line for worker in workers for line in worker.output[1:])
    assert lines == sorted(f"fibonacci({n})" for n in range(31))


def test_a_call_waits_for_the_other_group(start: Start) -> None:
    even = start("parity_worker.py even")
    client = start("parity_client.py")
    even.wait_for("countdown(10)")
    odd = start("parity_worker.py odd")
    assert result(client) == "lift-off"
    assert even.output[1:] == [f"countdown({n})" for n in (10, 8, 6, 4, 2, 0)]
    assert odd.output[1:] == [f"countdown({n})" for n in (9, 7, 5, 3, 1)]


def test_a_count_survives_a_kill_and_is_stored_under_its_run(start: Start, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    (notes / "inner").mkdir(parents=True)
    (notes / "a.txt").write_text("line\n" * 2)
    (notes / "inner" / "c.txt").write_text("line\n" * 4)
    os.mkfifo(notes / "b.txt")  # Reading it lasts until the test writes to it.
    victim = start("count_worker.py")
    client = start(f"count_client.py {notes} monday")
    victim.wait_for("b.txt")
    victim.kill()
    survivor = start("count_worker.py")
    survivor.wait_for("b.txt")
    (notes / "b.txt").write_text("line\n" * 3)
    assert result(client) == "Lines: 9"
    assert not survivor.printed("a.txt"), "its result is stored"

    (notes / "b.txt").unlink()
    assert result(start(f"count_client.py {notes} monday")) == "Lines: 9"
    assert result(start(f"count_client.py {notes} tuesday")) == "Lines: 6"


@pytest.mark.parametrize("name", ["draw_wrong", "draw_right"])
def test_code_between_two_yields_runs_again(start: Start, name: str) -> None:
    first = start("draw_worker.py")
    client = start(f"draw_client.py {name} monday")
    first.wait_for("The winner is")
    first.kill()
    second = start("draw_worker.py")
    paid = result(client)
    assert second.output[1:] == [f"The winner is {paid}.", f"Paid {paid}."]
    assert (first.output[1] == f"The winner is {paid}.") == (name == "draw_right")


def test_equal_inputs_share_one_result(start: Start) -> None:
    start("sort_worker.py")
    for name in ("sort_wrong", "sort_right"):
        command = f"uv run python sort_client.py {name} 3 3"
        assert result(start(command)) == output_of(command, OWN)
    assert result(start("sort_client.py sort_right 5 2 9 2 7")) == "[2, 2, 5, 7, 9]"
