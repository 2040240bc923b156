"""The demo's model of a run, and its board."""

from __future__ import annotations

from io import StringIO

import pyte
import pytest
from rich.console import Console

from demo.board import Board
from demo.run import Run


def run_of(n: int, workers: int = 3) -> Run:
    run = Run(n)
    for i in range(1, workers + 1):
        run.joined(f"worker {i}", 1000 + i)
    return run


def descend(run: Run, to: int = 1) -> None:
    """Let the workers start the calls in turn."""
    for n in range(run.n, to - 1, -1):
        worker = run.workers[(run.n - n) % len(run.workers)]
        run.printed(0.1 * (run.n - n), worker.name, f"factorial({n})")


def notices(run: Run) -> list[str]:
    return [entry.text for entry in run.news]


def test_a_worker_has_the_calls_that_it_started_and_did_not_finish() -> None:
    run = run_of(4)
    descend(run)
    assert [worker.holds for worker in run.workers] == [[4, 1], [3], [2]]
    run.printed(1, "worker 1", "factorial(1) = 1")
    assert [worker.holds for worker in run.workers] == [[4], [3], [2]]
    assert run.results == {1}


def test_another_worker_takes_over_the_calls_of_a_dead_one() -> None:
    run = run_of(4)
    descend(run)
    run.worker_died(1.0, "worker 1")
    run.printed(1.1, "worker 3", "factorial(1)")
    run.printed(1.2, "worker 3", "factorial(1) = 1")
    assert notices(run) == [
        "worker 1 (pid 1001) was killed with 2 unfinished calls: 4, 1",
        "worker 3 took over factorial(1) from worker 1",
    ]
    assert [(attempt.n, attempt.worker.name) for attempt in run.takeovers] == [(1, "worker 3")]
    assert run.workers[0].holds == []
    assert run.computed_again == []


def test_calls_that_were_computed_twice_are_counted() -> None:
    run = run_of(2)
    descend(run)
    run.printed(1.0, "worker 2", "factorial(1) = 1")
    run.worker_died(1.1, "worker 2")
    run.printed(1.2, "worker 3", "factorial(1)")
    run.printed(1.3, "worker 3", "factorial(1) = 1")
    assert run.computed_again == [1]
    assert run.takeovers == []
    assert notices(run)[-1] == "worker 3 is computing factorial(1) again"


def test_a_call_may_move_between_living_workers() -> None:
    run = run_of(3)
    descend(run)
    run.printed(1.0, "worker 2", "factorial(3)")
    assert [worker.holds for worker in run.workers] == [[], [2, 3], [1]]


def test_other_lines_are_only_kept() -> None:
    run = run_of(3)
    run.printed(0, "worker 1", "Factorial worker is running...")
    run.printed(0, "server", "factorial(3)")
    assert run.attempts == {}
    assert [entry.text for entry in run.log] == ["Factorial worker is running...", "factorial(3)"]


def board(run: Run, height: int, width: int) -> list[str]:
    """Draw a board on a terminal, and return the lines of the terminal before the run ends."""
    drawn = StringIO()
    console = Console(
        file=drawn, force_terminal=True, height=height, width=width, color_system=None
    )
    screen = pyte.Screen(width, height)
    with Board(run, console, lambda: 1.5, "keys: none", "http://localhost:8001/") as board:
        for _ in range(2):  # the second frame replaces the first
            board.update()
        pyte.Stream(screen).feed(drawn.getvalue().replace("\n", "\r\n"))
    return [line.rstrip() for line in screen.display]


@pytest.mark.parametrize("n", [0, 1, 2, 10, 500, 5000])
@pytest.mark.parametrize(("height", "width"), [(24, 80), (12, 40), (60, 200), (5, 20)])
@pytest.mark.parametrize("workers", [1, 3, 20])
def test_the_board_fits_its_terminal(n: int, height: int, width: int, workers: int) -> None:
    run = run_of(n, workers)
    descend(run, to=max(n // 2, 1))
    lines = board(run, height, width)
    assert lines[0].startswith("factorial("), "no line is too wide, and there are not too many"
    assert len([line for line in lines if line.startswith("factorial(")]) == 1
    if height >= 16:
        assert "keys: none" in lines


def rows(lines: list[str]) -> list[int]:
    """Return the calls that have a row."""
    firsts = [line.split()[0] for line in lines if line.split()]
    return [int(first) for first in firsts if first.isdecimal()]


def test_a_big_board_shows_the_calls_that_run_now() -> None:
    run = run_of(500)
    descend(run, to=250)
    shown = rows(board(run, 24, 80))
    assert len(shown) >= 10
    assert 250 in shown
    descend(run)
    for n in range(1, 400):
        run.printed(9, run.workers[(500 - n) % 3].name, f"factorial({n}) = 7")
    shown = rows(board(run, 24, 80))
    assert {399, 400} <= set(shown)


def test_a_call_of_a_worker_without_a_column_is_still_shown() -> None:
    run = run_of(20, workers=20)
    descend(run)
    text = "\n".join(board(run, 40, 80))
    assert "20: runs" in text


@pytest.mark.parametrize(("height", "width"), [(24, 80), (20, 60)])
def test_nothing_on_the_board_is_cut(height: int, width: int) -> None:
    run = Run(12)
    for i in range(1, 4):
        run.joined(f"worker {i}", 4_194_300 + i)  # the longest process ids
    descend(run, to=5)
    run.worker_died(0.8, "worker 2")
    run.printed(0.9, "worker 3", "factorial(5)")
    run.printed(1.0, "worker 1", "factorial(4)")
    lines = board(run, height, width)
    text = "\n".join(lines)
    assert "…" not in text
    told = " ".join(line.strip() for line in lines[-6:])
    assert "worker 2 (pid 4194302) was killed with 3 unfinished calls: 11, 8, 5" in told
    assert "worker 3 took over factorial(5) from worker 2" in told
    assert "↪ worker 3" in text
