"""The demo as a person runs it."""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from cluster import ROOT
from tests.terminal import Terminal

if TYPE_CHECKING:
    from pathlib import Path


def demo(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the demo; all files that it makes are in `tmp_path`."""
    return subprocess.Popen(
        [sys.executable, "-m", "demo", *arguments],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def left_behind(tmp_path: Path) -> str:
    """List the processes that work in `tmp_path`, and the files there."""
    processes = subprocess.run(
        ["/bin/ps", "-eo", "args"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    found = [line for line in processes if str(tmp_path) in line]
    return "\n".join(found + [str(path) for path in tmp_path.rglob("*")])


@pytest.mark.parametrize("n", [0, 1, 10])
def test_ends_with_the_result(tmp_path: Path, n: int) -> None:
    run = demo(tmp_path, str(n), "--pace", "0")
    out, err = run.communicate()
    assert (run.returncode, err) == (0, "")
    *lines, equal, result = out.splitlines()
    assert result == f"Result: {math.factorial(n)}"
    assert equal == f"The result equals Python's math.factorial({n}):"
    calls = [line for line in lines if line.endswith(f"| factorial({n})")]
    assert len(calls) == 1
    assert calls[0].startswith("worker ")
    assert left_behind(tmp_path) == ""


def test_output_in_a_pipe_has_no_colours(tmp_path: Path) -> None:
    out, _ = demo(tmp_path, "3", "--pace", "0").communicate()
    assert "\x1b" not in out


def test_says_where_to_watch_it(tmp_path: Path) -> None:
    out, _ = demo(tmp_path, "1", "--pace", "0").communicate()
    assert re.search(r"server \| Watch it at http://localhost:\d+/\n", out)


def test_says_how_many_calls_each_worker_took(tmp_path: Path) -> None:
    out, _ = demo(tmp_path, "8", "--pace", "0", "--workers", "2").communicate()
    assert "worker 1 took 4 calls, worker 2 took 4 calls" in out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stops_without_leaving_anything_behind(tmp_path: Path, number: int) -> None:
    run = demo(tmp_path, "100")
    assert run.stdout is not None
    while "factorial(99)" not in run.stdout.readline():
        assert run.poll() is None
    assert left_behind(tmp_path) != "", "the check sees what runs"
    run.send_signal(number)
    _, err = run.communicate()
    assert run.returncode == 130
    assert err == "demo: stopped; no process and no file is left\n"
    assert left_behind(tmp_path) == ""


def test_a_reader_who_has_seen_enough_ends_it(tmp_path: Path) -> None:
    with demo(tmp_path, "100") as run:
        assert run.stdout is not None
        assert "process ids" in run.stdout.readline()
        run.stdout.close()
        assert run.wait() != 0
    assert left_behind(tmp_path) == ""


def test_a_killed_worker_is_accounted_for(tmp_path: Path) -> None:
    run = demo(tmp_path, "20", "--pace", "0.02", "--kill")
    out, err = run.communicate()
    assert (run.returncode, err) == (0, "")
    killed = re.search(r"demo \| (worker \d) \(pid \d+\) was killed; it held \d+ calls?: ", out)
    assert killed, out
    took_over = re.findall(rf"demo \| worker \d took over factorial\((\d+)\) from {killed[1]}", out)
    held = re.findall(rf"{killed[1]} \| factorial\((\d+)\)$", out, re.MULTILINE)
    assert set(took_over) == set(held)
    in_the_end = re.findall(r"^worker \d took over factorial of (.*)\.$", out, re.MULTILINE)
    assert sorted(", ".join(in_the_end).split(", ")) == sorted(took_over)
    assert "Of 20 results, 20 were computed once and 0 again." in out
    assert out.endswith(f"Result: {math.factorial(20)}\n")
    assert "takes its place" not in out
    assert left_behind(tmp_path) == ""


def test_a_killed_worker_is_replaced_where_that_is_asked_for(tmp_path: Path) -> None:
    out, _ = demo(tmp_path, "12", "--workers", "1", "--kill", "--restart").communicate()
    assert re.search(r"demo \| worker 2 \(pid \d+\) takes its place", out)
    assert "worker 2 | factorial(1) = 1" in out
    assert out.endswith(f"Result: {math.factorial(12)}\n")


def test_a_killed_server_is_started_again(tmp_path: Path) -> None:
    out, err = demo(tmp_path, "20", "--pace", "0.05", "--kill", "server").communicate()
    assert err == ""
    assert re.search(r"demo \| server \(pid \d+\) was killed; it restarts", out)
    assert re.search(r"demo \| server \(pid \d+\) is back", out)
    assert "Of 20 results, 20 were computed once and 0 again." in out
    assert out.endswith(f"Result: {math.factorial(20)}\n")
    assert left_behind(tmp_path) == ""


def test_a_worker_that_somebody_else_kills_is_survived_too(tmp_path: Path) -> None:
    with demo(tmp_path, "20", "--pace", "0.1") as run:
        assert run.stdout is not None
        out = ""
        while "factorial(12)" not in out:
            out += run.stdout.readline()
        (victim,) = re.findall(r"^(worker \d) \| factorial\(13\)", out, re.MULTILINE)
        pids = dict(re.findall(r"(worker \d) (\d+)", out))
        os.kill(int(pids[victim]), signal.SIGKILL)
        out += run.stdout.read()
    assert f"{victim} (pid" in out
    assert out.endswith(f"Result: {math.factorial(20)}\n")


def board(tmp_path: Path, *arguments: str, **env: str) -> Terminal:
    """Start the demo on a terminal."""
    return Terminal([sys.executable, "-m", "demo", *arguments], env | {"TMPDIR": str(tmp_path)})


def test_the_board_shows_a_kill(tmp_path: Path) -> None:
    with board(tmp_path, "10", "--kill") as terminal:
        terminal.wait_for_text("took over")
        lines = terminal.wait_for_text("keys: k kills a worker")  # drawn to its end
        assert lines[0].startswith("factorial(10) http://localhost:"), "the whole board fits"
        assert "keys: k kills a worker" in "\n".join(lines)
        head = lines[3]
        assert head.count("alive") == 2
        assert head.count("KILLED") == 1
        calls = {int(line.split()[0]): line for line in lines if line[:3].strip().isdecimal()}
        assert list(calls) == list(range(10, 0, -1))
        assert "waits for 9" in calls[10]
        assert "left behind" in "\n".join(lines)
        (taken_over,) = [line for line in calls.values() if "went to worker" in line]
        assert "took over, " in taken_over

        lines = terminal.wait_for_text("Result: 3628800")
        text = "\n".join(lines)
        assert "= 40320" in text
        assert "waits for" not in text.split("\n A call")[0].split("A call that waits")[0]
        assert terminal.process.wait() == 0
        assert terminal.echoes
    assert left_behind(tmp_path) == ""


def test_the_keys_kill_and_stop(tmp_path: Path) -> None:
    with board(tmp_path, "200", "--pace", "0.1") as terminal:
        terminal.wait_for_text("3 of 200 begun")
        terminal.press("s")
        terminal.wait_for_text("was killed; it restarts")
        terminal.press("k")
        terminal.wait_for_text("KILLED")
        terminal.press("k")
        terminal.wait_for(lambda lines: lines[3].count("KILLED") == 2)
        terminal.press("k")
        terminal.wait_for_text("is the last one, and is left alone")
        terminal.press("q")
        terminal.wait_for_text("demo: stopped; no process and no file is left")
        assert terminal.process.wait() == 130
        assert terminal.echoes
    assert left_behind(tmp_path) == ""


def test_no_color_means_none(tmp_path: Path) -> None:
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


@pytest.mark.parametrize(("suffix", "magic"), [("svg", b"<?xml"), ("png", b"\x89PNG")])
def test_a_run_is_drawn(tmp_path: Path, suffix: str, magic: bytes) -> None:
    picture = tmp_path / f"timeline.{suffix}"
    demo(tmp_path, "12", "--pace", "0.02", "--kill", "--plot", str(picture)).communicate()
    content = picture.read_bytes()
    assert content.startswith(magic)
    if suffix == "svg":
        assert b"worker 2" in content
        assert b"killed" in content


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["-1"], 2, "'-1' is not a whole number from 0 up"),
        (["10001"], 2, "at most 10000: all results of a run are kept"),
        (["5", "--workers", "0"], 2, "at least one is needed"),
        (["5", "--pace", "-1"], 2, "between 0 and 3600 seconds"),
        (["5", "--kill", "--workers", "1"], 2, "a killed worker needs another one"),
        (["--kill", "5"], 2, "'5' is neither worker nor server"),
        (["5", "--plot", "picture.gif"], 2, "'picture.gif' ends neither in .svg nor in .png"),
        (["5", "--plot", "/no/such/folder/picture.svg"], 2, "there is no folder"),
        (["5", "--resonate", "/no/such/file"], 1, "/no/such/file: No such file or directory"),
        (["5", "--resonate", "/bin/false"], 1, "server has ended"),
    ],
)
def test_what_cannot_be_is_said_plainly(
    tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    run = demo(tmp_path, *arguments)
    _, err = run.communicate()
    assert run.returncode == code
    assert words in err
    assert "Traceback" not in err
    assert left_behind(tmp_path) == ""
