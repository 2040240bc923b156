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

from demo.cluster import ROOT
from demo.processes import Process
from tests.programs import run, running, start
from tests.terminal import Terminal

if TYPE_CHECKING:
    from pathlib import Path


def demo(tmp_path: Path, *arguments: str) -> Process:
    """Run the demo to its end. All files that it creates are in `tmp_path`."""
    finished = run("-m", "demo", *arguments, env={"TMPDIR": str(tmp_path)})
    assert left_behind(tmp_path) == []
    return finished


def left_behind(tmp_path: Path) -> list[str]:
    """List the processes of a demo, and the files and folders that it created."""
    return running(tmp_path) + [str(path) for path in tmp_path.rglob("*")]


@pytest.mark.parametrize("n", [0, 1, 10])
def test_ends_with_the_result(tmp_path: Path, n: int) -> None:
    ended = demo(tmp_path, str(n), "--pace", "0")
    assert (ended.wait(), ended.errors) == (0, [])
    assert ended.output[-2:] == [
        f"The result equals Python's math.factorial({n}):",
        f"Result: {math.factorial(n)}",
    ]
    (call,) = [line for line in ended.output if line.endswith(f"| factorial({n})")]
    assert call.startswith("worker ")
    assert ended.printed("server | Watch it at http://localhost:")
    assert not ended.printed("\x1b"), "there are no colours in a pipe"


def test_says_how_many_calls_each_worker_took(tmp_path: Path) -> None:
    ended = demo(tmp_path, "8", "--pace", "0", "--workers", "2")
    assert ended.printed("worker 1 ran 4 calls, worker 2 ran 4 calls")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stops_without_leaving_anything_behind(tmp_path: Path, number: int) -> None:
    with start("-m", "demo", "100", env={"TMPDIR": str(tmp_path)}) as stopped:
        stopped.wait_for("factorial(99)")
        assert len(running(tmp_path)) == 6, "the demo and five processes"
        stopped.send_signal(number)
        assert stopped.wait() == 130
        assert stopped.errors == ["demo: Stopped. It left no processes or files behind."]
        assert left_behind(tmp_path) == []


def test_ends_when_its_reader_ends(tmp_path: Path) -> None:
    command = f"{shlex.quote(sys.executable)} -m demo 100 | head -n 1"
    env = os.environ | {"TMPDIR": str(tmp_path)}
    with Process("demo in a pipe", ["sh", "-c", command], cwd=ROOT, env=env) as pipe:
        assert pipe.wait() == 0
        assert "process ids" in pipe.output[0]
    assert left_behind(tmp_path) == []


def test_a_killed_worker_is_accounted_for(tmp_path: Path) -> None:
    ended = demo(tmp_path, "20", "--pace", "0.02", "--kill")
    assert (ended.wait(), ended.errors) == (0, [])
    out = "\n".join(ended.output)
    killed = re.search(
        r"demo \| (worker \d) \(pid \d+\) was killed with \d+ unfinished calls?: ", out
    )
    assert killed, out
    takeovers = re.findall(r"demo \| worker \d took over factorial\((\d+)\) from (.*)", out)
    held = re.findall(rf"{killed[1]} \| factorial\((\d+)\)$", out, re.MULTILINE)
    assert {call for call, worker in takeovers if worker == killed[1]} == set(held)
    summary = " ".join(re.findall(r"^worker \d took over (.*)\.$", out, re.MULTILINE))
    in_the_end = re.findall(r"factorial\((\d+)\)", summary)
    assert sorted(in_the_end) == sorted(call for call, _ in takeovers)
    assert "None of the 20 results had to be computed again." in ended.output
    assert ended.output[-1] == f"Result: {math.factorial(20)}"
    assert not ended.printed("replacement")


def test_a_killed_worker_is_replaced_on_request(tmp_path: Path) -> None:
    ended = demo(tmp_path, "12", "--workers", "1", "--kill", "--restart", "--pace", "0.02")
    assert any(
        re.search(r"demo \| worker 2 \(pid \d+\) was started as a replacement", line)
        for line in ended.output
    )
    assert "worker 2 | factorial(1) = 1" in ended.output
    assert ended.output[-1] == f"Result: {math.factorial(12)}"


def test_a_killed_server_is_started_again(tmp_path: Path) -> None:
    ended = demo(tmp_path, "20", "--pace", "0.05", "--kill", "server")
    assert ended.errors == []
    out = "\n".join(ended.output)
    assert re.search(r"demo \| server \(pid \d+\) was killed and is restarting", out)
    assert re.search(r"demo \| server \(pid \d+\) has restarted", out)
    assert "None of the 20 results had to be computed again." in ended.output
    assert ended.output[-1] == f"Result: {math.factorial(20)}"


def test_a_run_survives_a_worker_that_the_user_kills(tmp_path: Path) -> None:
    with start("-m", "demo", "20", "--pace", "0.1", env={"TMPDIR": str(tmp_path)}) as survivor:
        survivor.wait_for("factorial(12)")
        out = "\n".join(survivor.output)
        (victim,) = re.findall(r"^(worker \d) \| factorial\(13\)", out, re.MULTILINE)
        pids = dict(re.findall(r"(worker \d) (\d+)", out))
        os.kill(int(pids[victim]), signal.SIGKILL)
        assert survivor.wait() == 0
    assert survivor.printed(f"{victim} (pid {pids[victim]}) was killed")
    assert survivor.output[-1] == f"Result: {math.factorial(20)}"


# A call's row on the board. The lines below begin with a time, like `15.5 s`.
ROW = re.compile(r"^ *(\d+)(?!\S).*")


def board(tmp_path: Path, *arguments: str, **env: str) -> Terminal:
    """Start the demo on a terminal."""
    return Terminal([sys.executable, "-m", "demo", *arguments], env | {"TMPDIR": str(tmp_path)})


def test_the_board_shows_a_kill(tmp_path: Path) -> None:
    with board(tmp_path, "10", "--kill", "--pace", "1") as terminal:
        # The keys are the board's last line: the frame is complete.
        lines = terminal.wait_for_text("took over", "keys: k kills a worker")
        assert lines[0].startswith("factorial(10) http://localhost:"), "the whole board fits"
        head = lines[3]
        assert head.count("alive") == 2
        assert head.count("KILLED") == 1
        calls = {int(row[1]): row[0] for line in lines if (row := ROW.match(line))}
        assert list(calls) == list(range(10, 0, -1))
        assert "waits for 9" in calls[10]
        (taken_over,) = [line for line in calls.values() if "↪ worker" in line]
        assert "took over, " in taken_over
        assert "needs a worker" not in "\n".join(lines), "a waiting call needs no worker"

        lines = terminal.wait_for_text("Result: 3628800")
        text = "\n".join(lines)
        assert "= 40320" in text
        assert "waits for" not in text
        assert "was killed with" in text, "the kill's line stays in sight"
        assert terminal.process.wait() == 0
        assert terminal.echoes
    assert left_behind(tmp_path) == []


def test_the_board_fits_a_small_terminal(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "demo", "12", "--kill", "--pace", "1"]
    with Terminal(command, {"TMPDIR": str(tmp_path)}, (20, 60)) as terminal:
        lines = terminal.wait_for_text("took over", "was killed with", "keys: k kills")
        assert lines[0].startswith("factorial(12)"), "the whole board fits"
        assert lines[3].count("worker") == 3
        assert len(re.findall(r"\bfinished ", "\n".join(lines))) == 3
        assert sum(ROW.match(line) is not None for line in lines) == 6


def test_the_keys_kill_and_stop(tmp_path: Path) -> None:
    with board(tmp_path, "200", "--pace", "1") as terminal:
        terminal.wait_for_text("1 of 200 calls started", "keys:")
        terminal.press("s")
        terminal.wait_for_text("was killed and is restarting")
        terminal.press("k")
        terminal.wait_for_text("KILLED")
        terminal.press("k")
        terminal.wait_for(lambda lines: lines[3].count("KILLED") == 2)
        terminal.press("k")
        terminal.wait_for_text("was not killed, because it is the last worker")
        terminal.press("q")
        terminal.wait_for_text("demo: Stopped. It left no processes or files behind.")
        assert terminal.process.wait() == 130
        assert terminal.echoes
    assert left_behind(tmp_path) == []


def test_no_color_removes_all_colours(tmp_path: Path) -> None:
    colour = re.compile(rb"\x1b\[[0-9;]*\b(3[0-7]|9[0-7]|38)[;m]")
    with board(tmp_path, "3", "--pace", "0") as terminal:
        terminal.wait_for_text("Result: 6")
        assert colour.search(terminal.raw), "the check sees a colour"
    with board(tmp_path, "3", "--pace", "0", NO_COLOR="1") as terminal:
        terminal.wait_for_text("Result: 6")
        assert not colour.search(terminal.raw)


def test_plain_lines_on_a_terminal(tmp_path: Path) -> None:
    with board(tmp_path, "3", "--pace", "0", "--plain") as terminal:
        lines = terminal.wait_for_text("Result: 6")
        assert any(line.endswith(" | factorial(3) = 6") for line in lines)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["-1"], 2, "must be a non-negative integer, not '-1'"),
        (["10001"], 2, "must be from 0 to 10000"),
        (["5", "--workers", "0"], 2, "must be at least 1"),
        (["5", "--pace", "-1"], 2, "must be from 0 to 3600 seconds"),
        (["5", "--kill", "--workers", "1"], 2, "--kill needs another worker that can take over"),
        (["--kill", "5"], 2, "not '5'; write N before --kill"),
        (["5", "--resonate", "/no/such/file"], 1, "/no/such/file is not an executable file"),
        (["5", "--resonate", "/bin/false"], 1, "server exited. It printed: "),
    ],
)
def test_errors_are_plain(tmp_path: Path, arguments: list[str], code: int, words: str) -> None:
    ended = demo(tmp_path, *arguments)
    assert ended.wait() == code
    assert ended.printed(words)
    assert not ended.printed("Traceback")
