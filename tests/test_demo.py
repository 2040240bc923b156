"""The demo as a person runs it."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from demo.processes import ROOT

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
        assert "Resonate API on" in run.stdout.readline()
        run.stdout.close()
        assert run.wait() != 0
    assert left_behind(tmp_path) == ""


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["-1"], 2, "'-1' is not a whole number from 0 up"),
        (["5", "--workers", "0"], 2, "at least one is needed"),
        (["5", "--pace", "-1"], 2, "between 0 and 3600 seconds"),
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
