"""The programs that the docs tell you to save do what the pages say, even if a worker is killed."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

import pytest

from demo.cluster import ROOT
from tests.pages import blocks, output_of

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
    """Run a command of the pages, in a folder with their programs."""
    for page in (TRY, OWN):
        for block in blocks(page, "python"):
            name = re.search(r"`(\w+\.py)`", block.above)
            if name:
                (tmp_path / name[1]).write_text(block.text + "\n")

    def run(command: str) -> Process:
        script, *arguments = command.removeprefix("uv run python ").split()
        return cluster.launch(script, [sys.executable, str(tmp_path / script), *arguments])

    return run


def started(process: Process) -> Process:
    process.wait_for("is running")
    return process


def printed(worker: Process) -> list[str]:
    """Return the lines of a worker's calls.

    The first call may print at the same moment as the greeting, and then share its line.
    """
    greeting = r"(Fibonacci worker|Worker( for \w+ numbers)?) is running\.\.\."
    lines = [re.sub(greeting, "", line) for line in worker.output]
    return [line for line in lines if line]


def result(client: Process) -> list[str]:
    assert client.wait() == 0, client.errors
    return client.output


def test_fibonacci_computes_each_number_once(start: Start) -> None:
    workers = [started(start("uv run python fibonacci_worker.py")) for _ in range(3)]
    client = "uv run python fibonacci_client.py"
    assert result(start(client)) == [output_of(client, TRY)]
    lines = sorted(line for worker in workers for line in printed(worker))
    assert lines == sorted(f"fibonacci({n})" for n in range(31))


def test_a_call_waits_for_the_other_group(start: Start) -> None:
    even = started(start("uv run python parity_worker.py even"))
    client = start("uv run python parity_client.py")
    even.wait_for("countdown(10)")
    odd = started(start("uv run python parity_worker.py odd"))
    assert result(client) == ["lift-off"]
    assert printed(even) == [f"countdown({n})" for n in (10, 8, 6, 4, 2, 0)]
    assert printed(odd) == [f"countdown({n})" for n in (9, 7, 5, 3, 1)]


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """A folder with 2 + 3 + 4 lines in text files."""
    folder = tmp_path / "notes"
    for name, lines in {"a.txt": 2, "b.txt": 3, "inner/c.txt": 4}.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("line\n" * lines)
    return folder


def test_a_killed_worker_costs_only_the_file_that_it_was_reading(start: Start, notes: Path) -> None:
    (notes / "b.txt").unlink()
    os.mkfifo(notes / "b.txt")  # Reading it lasts until the test writes to it.
    victim = started(start("uv run python count_worker.py"))
    client = start(f"uv run python count_client.py {notes} monday")
    victim.wait_for("b.txt")
    victim.kill()
    survivor = started(start("uv run python count_worker.py"))
    survivor.wait_for("b.txt")
    (notes / "b.txt").write_text("line\n" * 3)
    assert result(client) == ["Lines: 9"]
    assert not survivor.printed("a.txt")


def test_a_count_is_stored_under_its_run(start: Start, notes: Path) -> None:
    worker = started(start("uv run python count_worker.py"))
    for run, lines, read in [("monday", 9, 3), ("monday", 9, 3), ("tuesday", 10, 6)]:
        if run == "tuesday":
            (notes / "a.txt").write_text("line\n" * 3)
        client = start(f"uv run python count_client.py {notes} {run}")
        assert result(client) == [f"Lines: {lines}"]
        assert len(worker.output) == 1 + read


@pytest.mark.parametrize("name", ["draw_wrong", "draw_right"])
def test_code_between_two_yields_runs_again(start: Start, name: str) -> None:
    first = started(start("uv run python draw_worker.py"))
    client = start(f"uv run python draw_client.py {name} monday")
    first.wait_for("The winner is")
    first.kill()
    second = started(start("uv run python draw_worker.py"))
    (paid,) = result(client)
    announced = printed(first)[-1].removeprefix("The winner is ").removesuffix(".")
    assert printed(second) == [f"The winner is {paid}.", f"Paid {paid}."]
    assert (announced == paid) == (name == "draw_right")


@pytest.mark.parametrize("name", ["sort_wrong", "sort_right"])
def test_equal_inputs_share_one_result(start: Start, name: str) -> None:
    started(start("uv run python sort_worker.py"))
    command = f"uv run python sort_client.py {name} 3 3"
    assert result(start(command)) == [output_of(command, OWN)]
    if name == "sort_right":
        client = start("uv run python sort_client.py sort_right 5 2 9 2 7")
        assert result(client) == ["[2, 2, 5, 7, 9]"]
