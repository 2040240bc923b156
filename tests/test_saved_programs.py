"""The programs that the docs tell you to save do what the pages say, even if a worker is killed."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

import pytest

from tests.pages import blocks, commands, output_of
from tests.programs import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from demo.cluster import Cluster
    from demo.processes import Process

    type Start = Callable[[str], Process]

TRY = ROOT / "docs" / "things-to-try.md"
OWN = ROOT / "docs" / "write-your-own.md"
# A step that the page names, and that fails.
CHARGE = """
def charge(ctx, order):
    print(order)
    raise ValueError(order)
"""


@pytest.fixture
def start(cluster: Cluster) -> Start:
    """Run a script of the pages. If it is a worker, wait for its greeting."""
    for page in (TRY, OWN):
        for block in blocks(page, "python"):
            if name := re.search(r"`(\w+\.py)`", block.above):
                (cluster.data / name[1]).write_text(block.text + "\n")

    def run(command: str) -> Process:
        script, *arguments = command.removeprefix("uv run python ").split()
        process = cluster.launch(script, [sys.executable, script, *arguments])
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


def test_the_commands_list_and_cancel_the_calls_of_a_run(
    start: Start, cluster: Cluster, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    (notes / "inner").mkdir(parents=True)
    for name in ("a.txt", "inner/b.txt"):
        os.mkfifo(notes / name)  # Reading it lasts until the test writes to it.
    worker = start("count_worker.py")
    client = start(f"count_client.py {notes} monday")
    worker.wait_for("a.txt")
    worker.wait_for("b.txt")
    see, _, cancel = (
        command.replace("http://localhost:8001", cluster.url)
        for command in commands(OWN)
        if command.startswith("curl")
    )
    listed = cluster.launch("curl", ["sh", "-c", see])
    assert listed.wait() == 0, listed.errors
    root = f"count/monday{notes}"
    assert {root, f"{root}/inner"} < {line.split('"')[3] for line in listed.output}
    assert cluster.launch("curl", ["sh", "-c", cancel]).wait() == 0
    assert cluster.launch("curl", ["sh", "-c", see]).wait() == 1, "grep finds no call"
    assert client.wait() == 1
    assert client.printed("ResonateCanceledError")

    for name in ("a.txt", "inner/b.txt"):
        (notes / name).write_text("line\n")  # Now the steps end.
        (notes / name).unlink()
    (notes / "c.txt").write_text("line\n")
    assert result(start(f"count_client.py {notes} tuesday")) == "Lines: 1"


@pytest.mark.parametrize("draw", ["random.randint(", "yield ctx.random.randint("])
def test_code_between_two_yields_runs_again(start: Start, cluster: Cluster, draw: str) -> None:
    worker = cluster.data / "draw_worker.py"
    worker.write_text(worker.read_text().replace("random.randint(", draw))
    first = start("draw_worker.py")
    client = start("draw_client.py monday")
    first.wait_for("The winner is")
    first.kill()
    second = start("draw_worker.py")
    winner = f"The winner is {result(client)}."
    second.wait_for(winner)
    assert second.output[1:] == [winner]
    assert first.printed(winner) == ("yield" in draw)


def test_the_test_of_the_page_passes(start: Start) -> None:
    test = start("-m pytest -p no:cacheprovider test_crawl.py")
    assert test.wait() == 0, test.output
    assert test.printed("1 passed")


def test_a_step_is_retried_as_its_policy_says(start: Start, cluster: Cluster) -> None:
    worker, client = (cluster.data / f"draw_{part}.py" for part in ("worker", "client"))
    added = f"{blocks(OWN, 'python')[-1].text}\n{CHARGE}\nresonate.start()"
    worker.write_text(worker.read_text().replace("resonate.start()", added))
    client.write_text(client.read_text().replace('"draw")', '"charge_order", "order 1")'))
    retrying = start("draw_worker.py")
    failed = start("draw_client.py 1")
    assert failed.wait() == 1
    assert failed.errors[-1] == "ValueError: order 1"
    assert retrying.output[1:] == ["order 1"] * 4
