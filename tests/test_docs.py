"""The pages are right: the commands run, the programs work, and the links resolve."""

from __future__ import annotations

import math
import os
import pty
import re
import shutil
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from demo.cluster import free_ports
from demo.processes import PATIENCE, Process
from tests.pages import PAGES, anchors, block_below, blocks, commands, links, output_of
from tests.programs import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator


README = ROOT / "README.md"
TRY = ROOT / "docs" / "things-to-try.md"
OWN = ROOT / "docs" / "write-your-own.md"
# Its commands need other machines, a real server and Postgres. The page says what was tried.
BEYOND = ROOT / "docs" / "beyond-one-machine" / "README.md"

# Commands that end without a signal, each with a change that makes it faster here.
ONCE = {
    "uv run python -m devserver --help": ("", ""),
    "uv run factorial-demo 10": ("10", "3 --pace=0"),
}
FIRST = "pip install uv && uv run python -m demo 10"
BOARD = "uv run python -m demo 10 --pace 0.5 --kill"
# Commands that another test runs, or that run this one.
ELSEWHERE = [
    *commands(ROOT / "docs" / "troubleshooting.md"),  # test_wrong_turns.py
    ".ci/run",
    "pip install uv && uv run pytest",
    "uv run python -m demo 3 --crash-everywhere",  # the demo's test_crash_points.py
    "uv run --package devserver pytest packages/devserver",  # these are parts of .ci/run
    "uv run --package factorial-demo pytest packages/demo",
    "uv run --package resonate-transport pytest packages/transport",
    "cd packages/devserver && uv run --all-groups python -m benchmarks --resonate=BINARY",
]
# The tutorial by hand.
BY_HAND = [
    "uv run python -m devserver",
    "uv run python factorial_worker.py --pace 1",
    "uv run python factorial_client.py 5",
    "uv run python factorial_client.py 20",
    "kill -9 PID",
    "uv run python factorial_client.py 3",
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
            "UV_NO_SYNC": "1",  # the environment belongs to this folder, and not to the copy
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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_inside_the_repository_resolves(page: Path) -> None:
    for link in links(page):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_code_in_the_readme_is_the_code_in_the_files() -> None:
    scripts = [(ROOT / f"factorial_{part}.py").read_text() for part in ("worker", "client")]
    assert [block.text + "\n" for block in blocks(README, "python")] == scripts


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
        FIRST.replace("pip install uv && ", "unset UV_PROJECT_ENVIRONMENT UV_NO_SYNC && ")
    )
    assert run.wait() == 0, run.errors
    assert run.output[-1] == "Result: 3628800"
    installed = {path.name for path in place.folder.glob(".venv/lib/*/site-packages/*")}
    assert "rich" in installed
    assert not installed & {"matplotlib", "playwright", "hypothesis"}


def test_the_board_looks_as_the_page_shows_it() -> None:
    board = block_below(BOARD, README)
    summary = blocks(README)[blocks(README).index(board) + 1]
    ours, theirs = pty.openpty()
    output = b""
    with subprocess.Popen(
        [sys.executable, *BOARD.split()[3:]],
        cwd=ROOT,
        env=os.environ | {"TERM": "xterm-256color", "LINES": "30", "COLUMNS": "100"},
        preexec_fn=lambda: os.login_tty(theirs),  # noqa: PLW1509 - a few system calls
    ):
        os.close(theirs)
        with suppress(OSError):  # Linux raises it at the end
            while chunk := os.read(ours, 65_536):
                output += chunk
        os.close(ours)
    seen = words(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", " ", output.decode()))
    assert (words(board.text) | words(summary.text)) <= seen


def test_the_tutorial_by_hand(place: Place) -> None:
    """Follow the whole page in its order, with a kill in the middle."""
    server_command, worker_command, first, longer, kill, again = BY_HAND
    server = place.type(server_command)
    server.wait_for("Watch it")
    workers = [place.type(worker_command) for _ in range(3)]
    for worker in workers:
        worker.wait_for("is running")

    client = place.type(first)
    assert client.wait() == 0, client.errors
    assert client.output == [output_of(first, README)]

    client = place.type(longer)
    place.wait_for("factorial(13)")
    victim, *survivors = workers
    pid = re.search(r"\(pid (\d+)\)", victim.output[0])
    assert pid
    assert place.type(kill.replace("PID", pid[1])).wait() == 0
    assert client.wait() == 0, client.errors
    assert client.output == [f"Result: {math.factorial(20)}"]
    assert not victim.alive
    begun = [line for line in victim.output if re.fullmatch(r"factorial\(\d+\)", line)]
    left = next(line for line in begun if not victim.printed(f"{line} ="))
    assert any(worker.printed(left) for worker in survivors), "another worker has taken it over"
    results = [line for line in output_of(kill, README).splitlines() if "=" in line]
    assert all(any(worker.printed(line) for worker in workers) for line in results)

    printed = [worker.output[:] for worker in survivors]
    curl, value = (command for command in commands(TRY) if command.startswith("curl"))
    for command, output in [
        (again, output_of(again, README)),
        (curl, '"state":"RESOLVED"'),
        (value, output_of(value, TRY)),
    ]:
        answer = place.type(command.replace("8001", str(place.api)))
        assert answer.wait() == 0, answer.errors
        assert output in answer.output[0]
    assert printed == [worker.output for worker in survivors]
