"""The demo's commands for crash points, as a user runs them."""

from __future__ import annotations

import re
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from demo.crashes.everywhere import Everywhere, Summary
from demo.crashes.points import Point, Recursion
from tests.programs import run, running, start, wait_for_end
from tests.terminal import Terminal

if TYPE_CHECKING:
    from pathlib import Path

    from demo.processes import Process

# n = 1 does not call another level: its steps are those of the client and of one task.
POINTS = 40
SUMMARY = re.compile(
    r"(\d+) crash points, \1 right answers(; \d+ did not occur)?; "
    r"\d+ calls +ran +a +second +time; the +slowest +recovery +took \d+\.\d s"
)
# A worker whose result depends on how often its function was run.
FORGETFUL = """
from pathlib import Path
from threading import Event
from resonate import Resonate

resonate = Resonate.remote(group="factorial-worker")
runs = Path(__file__).with_suffix(".runs")


@resonate.register
def factorial(ctx, n):
    with runs.open("a") as file:
        file.write("x")
    print(f"factorial({n})")
    return n if runs.stat().st_size == 1 else -1


runs.write_text("")
resonate.start()
print("is running...")
Event().wait()
"""


def demo(tmp_path: Path, *arguments: str) -> Process:
    """Run the demo to its end. All files that it creates are in `tmp_path`."""
    ended = run("-m", "demo", *arguments, env={"TMPDIR": str(tmp_path)})
    wait_for_end(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert not ended.printed("Traceback")
    return ended


def on_terminal(tmp_path: Path, *arguments: str) -> Terminal:
    return Terminal([sys.executable, "-m", "demo", *arguments], {"TMPDIR": str(tmp_path)})


def test_the_table_fills_and_stays(tmp_path: Path) -> None:
    with on_terminal(tmp_path, "1", "--crash-everywhere") as terminal:
        terminal.wait_for_text(f"/{POINTS} crash points,", "left")
        terminal.wait_for(lambda lines: any("✔" in line for line in lines))
        lines = terminal.wait_for(lambda lines: bool(SUMMARY.search(" ".join(lines))))
        assert terminal.process.wait() == 0
    wait_for_end(tmp_path)
    steps = [line.split(" factorial-1")[0].strip() for line in lines if "factorial-1 " in line]
    expected = ["create", "invoke", "subscribe", "claim", "resolve", "complete task", "notify"]
    assert sorted(steps) == sorted(expected)
    summary = SUMMARY.search(" ".join(lines))
    assert summary
    # The client may have ended before the last step, so that it cannot be killed there.
    assert sum(line.count("✔") for line in lines) == int(summary[1]) >= POINTS - 1
    assert not any("left" in line for line in lines)


def test_lines_come_one_by_one_until_it_is_stopped(tmp_path: Path) -> None:
    with start(
        "-m", "demo", "1", "--crash-everywhere", "--plain", env={"TMPDIR": str(tmp_path)}
    ) as stopped:
        stopped.wait_for("subscribe factorial-1, worker killed before")
        assert running(tmp_path)
        stopped.send_signal(signal.SIGINT)
        assert stopped.wait() == 130
        assert stopped.errors == ["demo: Stopped. It left no processes or files behind."]
    wait_for_end(tmp_path)
    assert list(tmp_path.iterdir()) == []
    line = r"\w+ factorial-1, (worker|server|both|client) killed (before|after): right, \+\d+\.\d s"
    for printed in stopped.output:
        assert re.match(line, printed)


def test_no_process_outlives_a_killed_search(tmp_path: Path) -> None:
    env = {"TMPDIR": str(tmp_path)}
    with start("-m", "demo", "1", "--crash-everywhere", "--plain", env=env) as killed:
        killed.wait_for(": right, ")
        killed.send_signal(signal.SIGKILL)
        assert killed.wait() == -signal.SIGKILL
    wait_for_end(tmp_path)


def test_one_point_is_watched_as_lines(tmp_path: Path) -> None:
    ended = demo(
        tmp_path, "2", "--point", "claim factorial-2 #2", "--victim", "server", "--after",
        "--plain", "--pace", "0.05",
    )  # fmt: skip
    assert (ended.wait(), ended.errors) == (0, [])
    lines = "\n".join(ended.output)
    assert re.search(
        r"demo \| worker \d → server: claim factorial-2\n(.*\n)*"
        r".*server \(pid \d+\) was killed.*\n(.*\n)*"
        r".*worker \d → server: resolve factorial-2\n",
        lines,
    )
    assert ended.printed(
        "claim factorial-2 #2, server killed after: right answer. Calls that ran again: "
    )
    assert ended.output[-1] == "Result: 2"


def test_one_point_is_watched_on_the_board(tmp_path: Path) -> None:
    with on_terminal(tmp_path, "2", "--point", "resolve factorial-1", "--pace", "0.1") as terminal:
        terminal.wait_for_text("server → worker", "message: invoke factorial-1")
        terminal.wait_for_text("KILLED worker")
        terminal.wait_for_text("Result: 2")
        assert terminal.process.wait() == 0
    wait_for_end(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["51", "--crash-everywhere"], 2, "N must be from 0 to 50"),
        (["2", "--point", "claim factorial-2", "--pace", "3"], 2, "--pace must be from 0 to 2"),
        (
            ["1", "--point", "claim factorial-9", "--pace", "0"],
            1,
            "did not occur, so nothing was killed. The steps were: create f",
        ),
    ],
)
def test_errors_are_plain(tmp_path: Path, arguments: list[str], code: int, words: str) -> None:
    ended = demo(tmp_path, *arguments)
    assert ended.wait() == code
    assert ended.printed(words)


def test_a_wrong_answer_and_a_changed_promise_are_found(tmp_path: Path) -> None:
    worker = tmp_path / "forgetful.py"
    worker.write_text(FORGETFUL)
    right = Recursion.factorial(1)
    forgetful = Recursion((sys.executable, str(worker)), right.client, right.result)
    everywhere = Everywhere(forgetful, workers=2)
    everywhere.record()
    point = Point("resolve factorial-1", "before", "worker")
    verdict = everywhere.try_plan((point,))
    assert not verdict.is_right
    assert "WRONG, the client exited with 0 and printed: Result: -1" in str(verdict)
    summary = Summary()
    summary.add(verdict)
    assert str(summary).startswith("1 crash points, 0 right answers; ")
