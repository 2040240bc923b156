"""The pages are right: the commands run, the programs work, and the links resolve."""

from __future__ import annotations

import math
import os
import re
import shutil
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from demo.cluster import ROOT, free_ports
from demo.processes import PATIENCE, Process
from tests.pages import PAGES, anchors, block_below, blocks, commands, links, output_of
from tests.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator


README = ROOT / "README.md"
TRY = ROOT / "docs" / "things-to-try.md"
OWN = ROOT / "docs" / "write-your-own.md"
# Its commands need other machines, a real server and Postgres. The page says what was tried.
BEYOND = ROOT / "docs" / "beyond-one-machine.md"

# The options that CONTRIBUTING.md names.
OPTIONS = "--crash-points=all --hypothesis-profile=long"
# Commands that end without a signal, each with a change that makes it faster here.
ONCE = {
    "uv run python -m devserver --help": ("", ""),
    "uv run --all-groups pytest --resonate=BINARY": (
        "BINARY",
        f"{sys.executable} --collect-only --numprocesses=0 tests/test_crash_points.py {OPTIONS}",
    ),
}
FIRST = "pip install uv && uv run python -m demo 10"
BOARD = "uv run python -m demo 10 --pace 0.5 --kill"
# Commands that another test runs, or that run this one.
ELSEWHERE = [
    *commands(ROOT / "docs" / "troubleshooting.md"),  # test_wrong_turns.py
    ".ci/run",
    "pip install uv && uv run --all-groups pytest",
    "uv run python -m demo 3 --crash-everywhere",  # test_crash_points.py
    "uv run --all-groups python -m benchmarks --resonate=BINARY",  # test_benchmarks.py
]
# The tutorial by hand.
BY_HAND = [
    "uv run python -m devserver",
    "uv run python factorial_worker.py --pace 0.5",
    "uv run python factorial_client.py 10",
    "uv run python factorial_client.py 7",
    "uv run python factorial_client.py 30",
    "kill -9 PID",
]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.close()


class Place:
    """A fresh copy of the project, and terminals in its folder.

    Args:
        folder: an empty folder for the copy.
    """

    def __init__(self, folder: Path) -> None:
        ignored = shutil.ignore_patterns(".*", "__pycache__", "*.db*")
        self.folder = shutil.copytree(ROOT, folder / "project", ignore=ignored)
        self._changed = threading.Condition()
        self._processes: list[Process] = []
        self.api, self.poll = free_ports(2)
        uv = Path(os.environ.get("UV") or shutil.which("uv") or "uv")
        self._env = os.environ | {
            "PATH": f"{uv.parent}:{os.environ['PATH']}",
            "UV_PROJECT_ENVIRONMENT": sys.prefix,
            "PYTHONUNBUFFERED": "1",
            "RESONATE_PORT_STORE": str(self.api),
            "RESONATE_PORT_MESSAGE_SOURCE": str(self.poll),
        }

    def type(self, command: str) -> Process:
        """Type a command in a new terminal."""
        process = Process(
            command,
            ["sh", "-c", command],
            env=self._env,
            cwd=self.folder,
            changed=self._changed,
        )
        self._processes.append(process)
        return process

    def wait_for(self, text: str) -> None:
        """Wait until a line in any terminal contains a text."""
        with self._changed:
            assert self._changed.wait_for(
                lambda: any(process.printed(text) for process in self._processes), PATIENCE
            )

    def close(self) -> None:
        """Kill all processes."""
        for process in self._processes:
            process.kill()


def words(text: str) -> set[str]:
    """Return the words of an output, with 0 for each number and without bars, rules and commas.

    The numbers of two runs differ, so a plural counts as a singular.
    """
    plain = re.sub(r"[━╺╸─…,]+", "", text).replace("calls", "call")
    return set(re.sub(r"[\d.]+", "0", plain).split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_inside_the_repository_resolves(page: Path) -> None:
    for link in links(page):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_code_in_the_readme_is_the_code_in_the_files() -> None:
    scripts = [(ROOT / f"factorial_{part}.py").read_text() for part in ("worker", "client")]
    shown = blocks(README, "python")
    assert len(shown) >= 3
    for block in shown:
        for part in block.text.split("\n\n\n"):
            assert any(part in script for script in scripts), part


def test_every_command_is_run_by_a_test() -> None:
    run = {FIRST, BOARD, *ONCE, *ELSEWHERE, *BY_HAND}
    shown = {command for page in PAGES for command in commands(page)}
    assert shown - run - set(commands(TRY, OWN, BEYOND)) == set()
    assert run - shown == set(), "no page shows these commands"


@pytest.mark.parametrize("command", ONCE)
def test_a_command_works(command: str, place: Place) -> None:
    run = place.type(command.replace(*ONCE[command]))
    assert run.wait() == 0, run.errors + run.output


def test_the_first_command_is_light(place: Place) -> None:
    """A new environment contains what the demo needs, but not what the tests need."""
    run = place.type(
        FIRST.replace("pip install uv && ", f"UV_PROJECT_ENVIRONMENT={place.folder}/.venv ")
    )
    assert run.wait() == 0, run.errors
    assert run.output[-1] == "Result: 3628800"
    installed = {path.name for path in place.folder.glob(".venv/lib/*/site-packages/*")}
    assert "rich" in installed
    assert not installed & {"matplotlib", "playwright", "hypothesis"}


def test_the_board_looks_as_the_page_shows_it() -> None:
    board = block_below(BOARD, README)
    summary = blocks(README)[blocks(README).index(board) + 1]
    seen: set[str] = set()

    def look(screen: list[str]) -> bool:
        seen.update(words("\n".join(screen)))
        return "Result: 3628800" in screen

    with Terminal([sys.executable, *BOARD.split()[3:]], {}) as terminal:
        terminal.wait_for(look)
    assert (words(board.text) | words(summary.text)) <= seen


def test_the_tutorial_by_hand(place: Place) -> None:
    """Follow the whole page in its order, with a kill in the middle."""
    server_command, worker_command, first, again, longer, kill = BY_HAND
    server = place.type(server_command)
    server.wait_for("Watch it")
    workers = [place.type(worker_command) for _ in range(3)]
    for worker in workers:
        worker.wait_for("is running")

    for command in (first, again):
        client = place.type(command)
        assert client.wait() == 0, client.errors
        assert client.output == [output_of(command, README)]
    printed = [line for worker in workers for line in worker.output]
    shown = blocks(README)[blocks(README).index(block_below(first, README)) + 1].text
    assert set(shown.splitlines()) <= set(printed)

    client = place.type(longer)
    place.wait_for("factorial(22)")
    victim, *survivors = workers
    pid = re.search(r"\(pid (\d+)\)", victim.output[0])
    assert pid
    assert place.type(kill.replace("PID", pid[1])).wait() == 0
    assert client.wait() == 0, client.errors
    assert client.output == [f"Result: {math.factorial(30)}"]
    assert not victim.alive
    begun = [line for line in victim.output if re.fullmatch(r"factorial\(\d+\)", line)]
    left = next(line for line in begun if not victim.printed(f"{line} ="))
    assert any(worker.printed(left) for worker in survivors), "another worker has taken it over"
    results = [line for line in output_of(kill, README).splitlines() if "=" in line]
    assert all(any(worker.printed(line) for worker in workers) for line in results)

    curl = next(command for command in commands(TRY) if command.startswith("curl"))
    answer = place.type(curl.replace("8001", str(place.api)))
    assert answer.wait() == 0
    assert '"state":"RESOLVED"' in answer.output[0]
