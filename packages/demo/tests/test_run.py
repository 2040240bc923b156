"""The demo's model of a run, and its board."""

from __future__ import annotations

from io import StringIO

import pyte
import pytest
from rich.console import Console

from demo.board import Board
from demo.processes import visible
from demo.run import Run


def run_of(n: int, *, to: int = 1, workers: int = 3, pace: float = 0) -> Run:
    """Let the workers start the calls from n down to `to` in turn, one each second."""
    run = Run(n, pace)
    for i in range(1, workers + 1):
        run.workers[f"worker {i}"] = 4_194_300 + i  # the longest process ids
    for k in range(n, to - 1, -1):
        run.printed(n - k, f"worker {(n - k) % workers + 1}", f"factorial({k})")
    return run


def board(run: Run, height: int, width: int) -> list[str]:
    """Draw a board on a terminal, and return the lines of the terminal before the run ends."""
    drawn = StringIO()
    console = Console(
        file=drawn, force_terminal=True, height=height, width=width, color_system=None
    )
    screen = pyte.Screen(width, height)
    with Board(run, console, "keys: none", "http://localhost:8001/") as board:
        for _ in range(2):  # the second frame replaces the first
            board.update()
        pyte.Stream(screen).feed(drawn.getvalue().replace("\n", "\r\n"))
    return [line.rstrip() for line in screen.display]


def test_a_call_pauses_waits_and_runs() -> None:
    run = run_of(3, to=2, pace=0.5)
    assert run.state(2, 1.01) == "runs"
    assert [run.state(n, 1.4) for n in (3, 2, 1)] == ["waits", "pauses", "not started"]
    assert run.state(2, 1.6) == "runs"
    run.printed(1.6, "worker 3", "factorial(1)")
    assert [run.state(n, 1.6) for n in (3, 2, 1)] == ["waits", "waits", "runs"]
    run.printed(1.7, "worker 3", "factorial(1) = 1")
    assert [run.state(n, 1.7) for n in (3, 2, 1)] == ["waits", "runs", "finished"]


def test_a_kill_and_what_it_cut_off_are_told_as_on_the_page() -> None:
    run = run_of(4)
    run.worker_died(3.5, "worker 1")
    assert [run.state(n, 4) for n in (4, 3, 2, 1)] == ["waits"] * 3 + ["needs a worker"]
    run.printed(3.6, "worker 2", "factorial(1)")
    run.printed(5, "worker 2", "factorial(1) = 1")
    run.server_died(5)
    run.server_restarted(6.5)
    run.printed(6, "worker 3", "factorial(2) = 2")
    run.printed(7, "worker 2", "factorial(3) = 6")
    assert run.state(4, 8) == "needs a worker"
    run.printed(8, "worker 3", "factorial(4)")
    run.worker_died(8, "worker 2")
    assert [entry.text for entry in run.log if entry.source == "demo"] == [
        "Worker 1 was killed. Only 1 was running. 3 stored calls noticed nothing.",
        "Worker 2 restarted 1 after 100 ms.",
        "The server was killed and is restarting.",
        "The server was down for 1.5 s. All stored calls were still there.",
        "Worker 2 was killed. It was not running a call. 1 stored call noticed nothing.",
    ]


def test_results_that_were_computed_twice_are_counted() -> None:
    run = run_of(1)
    run.printed(1, "worker 1", "factorial(1) = 1")
    run.printed(2, "worker 2", "factorial(1) = 1")
    assert run.finished == {1: 2}


@pytest.mark.parametrize("n", [0, 5000])
@pytest.mark.parametrize(("height", "width"), [(24, 80), (20, 50), (12, 40)])
@pytest.mark.parametrize("workers", [1, 8, 40])
def test_the_board_fits_its_terminal(n: int, height: int, width: int, workers: int) -> None:
    run = run_of(n, to=max(n // 2, 1), workers=workers)
    lines = board(run, height, width)
    assert lines[0].startswith(f"factorial({n})"), "no line is too wide, and none is too many"
    assert any(line.split()[:1] == [str(min(run.front, n))] for line in lines)
    if height >= 20:
        assert "keys: none" in lines
        assert any(f"worker {workers}" in line for line in lines)


def test_control_characters_are_shown() -> None:
    assert visible("a\x1b]52;c\x07 é ✔\x9b") == r"a\x1b]52;c\x07 é ✔\x9b"
