"""The demo as a user runs it."""

from __future__ import annotations

import math
import os
import re
import shlex
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from demo.processes import Process
from tests.programs import SCRIPTS, run, running, start, wait_for_end
from tests.terminal import Terminal

if TYPE_CHECKING:
    from pathlib import Path


def demo(tmp_path: Path, *arguments: str, **env: str) -> Process:
    """Run the demo to its end. All files that it creates are in `tmp_path`."""
    finished = run("-m", "demo", *arguments, env=env | {"TMPDIR": str(tmp_path)})
    assert_nothing_is_left(tmp_path)
    assert not finished.printed("Traceback")
    return finished


def assert_nothing_is_left(tmp_path: Path) -> None:
    wait_for_end(tmp_path)
    assert list(tmp_path.iterdir()) == []


def board(tmp_path: Path, *arguments: str, **env: str) -> Terminal:
    """Start the demo on a terminal."""
    return Terminal([sys.executable, "-m", "demo", *arguments], env | {"TMPDIR": str(tmp_path)})


@pytest.mark.parametrize(("n", "workers"), [(0, 1), (10, 3)])
def test_ends_with_the_result(tmp_path: Path, n: int, workers: int) -> None:
    arguments = (str(n), "--pace", "0", "--workers", str(workers))
    ended = demo(tmp_path, *arguments, PYTHONIOENCODING="ascii")
    assert (ended.wait(), ended.errors) == (0, [])
    assert ended.output[-2:] == [
        f"The result equals Python's math.factorial({n}):",
        f"Result: {math.factorial(n)}",
    ]
    (call,) = [line for line in ended.output if line.endswith(f"| factorial({n})")]
    assert call.startswith("worker ")
    assert ended.printed("server | Watch it at http://localhost:")
    assert not ended.printed("\x1b"), "there are no colours in a pipe"


def test_stops_without_leaving_anything_behind(tmp_path: Path) -> None:
    command = ("-m", "demo", "100", "--workers", "1")
    with start(*command, env={"TMPDIR": str(tmp_path)}) as stopped:
        stopped.wait_for("factorial(99)")
        assert len(running(tmp_path)) == 4, "the demo, a server, a worker and a client"
        stopped.send_signal(signal.SIGHUP)
        assert stopped.wait() == 130
        assert stopped.errors == ["demo: Stopped. It left no processes or files behind."]
    assert_nothing_is_left(tmp_path)


def test_ends_when_its_reader_ends(tmp_path: Path) -> None:
    command = f"{shlex.quote(sys.executable)} -m demo 100 --workers 1 | head -n 1"
    env = os.environ | {"TMPDIR": str(tmp_path)}
    with Process("demo in a pipe", ["sh", "-c", command], cwd=SCRIPTS, env=env) as pipe:
        assert pipe.wait() == 0
        assert "Resonate API on" in pipe.output[0]
    assert_nothing_is_left(tmp_path)


def test_a_killed_worker_loses_only_the_step_that_it_ran(tmp_path: Path) -> None:
    ended = demo(tmp_path, "12", "--pace", "0.1", "--kill", "--workers", "2")
    assert (ended.wait(), ended.errors) == (0, [])
    lines = "\n".join(ended.output)
    assert re.search(
        r"demo \| Worker \d was killed\. Only 6 was running\. 6 stored calls noticed nothing\.\n",
        lines,
    ), lines
    assert re.search(r"demo \| Worker \d restarted 6 after [\d.]+ m?s\.\n", lines)
    assert "None of the 12 results had to be computed again." in ended.output
    assert ended.output[-1] == f"Result: {math.factorial(12)}"


def test_a_killed_server_is_started_again(tmp_path: Path) -> None:
    ended = demo(tmp_path, "6", "--pace", "0.05", "--kill", "server", "--workers", "1")
    assert (ended.wait(), ended.errors) == (0, [])
    lines = "\n".join(ended.output)
    assert "demo | The server was killed and is restarting.\n" in lines
    assert re.search(r"demo \| The server was down for .* All stored calls were still there", lines)
    assert "None of the 6 results had to be computed again." in ended.output


def test_the_board_shows_a_kill(tmp_path: Path) -> None:
    arguments = ("10", "--kill", "--pace", "1", "--workers", "2")
    with board(tmp_path, *arguments, PYTHONIOENCODING="ascii") as terminal:
        # The keys are the board's last line: the frame is complete.
        lines = terminal.wait_for_text("restarted 5 after", "k kills a worker")
        assert lines[0].startswith("factorial(10)  ")
        assert lines[1].startswith("http://localhost:")
        text = "\n".join(lines)
        assert len(re.findall(r"worker \d \(pid \d+\) killed", text)) == 1
        assert len(re.findall(r"worker \d \(pid \d+\) (idle|runs \d+)", text)) == 1
        waiting = re.findall(r"^ *\d+ +waits for (\d+) +worker \d$", text, re.MULTILINE)
        assert waiting[:5] == ["9", "8", "7", "6", "5"]

        lines = terminal.wait_for_text("Result: 3628800")
        assert terminal.process.wait() == 0
        assert re.fullmatch(r"factorial\(10\)  .* s  10 of 10 started, 10 finished", lines[0])
        assert any(" 40320 " in line for line in lines)
        assert terminal.echoes
    assert_nothing_is_left(tmp_path)


def test_the_keys_kill_and_stop(tmp_path: Path) -> None:
    with board(tmp_path, "200", "--pace", "1", "--workers", "2") as terminal:
        terminal.wait_for_text("1 of 200 started", "k kills a worker")
        terminal.press("s")
        terminal.wait_for_text("The server is restarting.")
        terminal.wait_for_text("The server was down for")
        terminal.press("k")
        terminal.wait_for_text(") killed")
        terminal.press("k")
        terminal.wait_for_text("was not killed, because it is the last worker")
        terminal.press("q")
        terminal.wait_for_text("demo: Stopped. It left no processes or files behind.")
        assert terminal.process.wait() == 130
        assert terminal.echoes
    assert_nothing_is_left(tmp_path)


def test_the_last_lines_of_a_program_that_fails_are_shown(tmp_path: Path) -> None:
    ended = demo(tmp_path, "2", "--pace", "0", "--workers", "1", PYTHONWARNINGS="error")
    assert ended.wait() == 1
    assert ended.errors[0] == "demo: client exited with code 1:"
    assert "jsonpickle" in ended.errors[1]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["-1"], 2, "N must be from 0 to 10000"),
        (["51", "--crash-everywhere"], 2, "N must be from 0 to 50"),
        (["5", "--workers", "0"], 2, "--workers must be at least 1"),
        (["5", "--pace", "-1"], 2, "--pace must be from 0 to 3600 seconds"),
        (["5", "--kill", "--workers", "1"], 2, "--kill needs a worker that can take over"),
        (["5", "--resonate", "/no/such/file"], 1, "/no/such/file is not an executable file"),
        (["5", "--resonate", "/bin/false"], 1, "server exited with code 1:"),
    ],
)
def test_errors_are_plain(tmp_path: Path, arguments: list[str], code: int, words: str) -> None:
    ended = demo(tmp_path, *arguments)
    assert ended.wait() == code
    assert ended.printed(words)
