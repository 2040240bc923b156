"""Crashes at exactly chosen steps: the answer is always right, and no promise changes."""

from __future__ import annotations

import itertools
import signal
import time
from random import Random
from typing import TYPE_CHECKING

import pytest

from demo.crashes import CrashSearch, Point, Programs, crash_everywhere
from tests.programs import SCRIPTS, start, wait_for_end

if TYPE_CHECKING:
    from pathlib import Path

# How many points each test tries if --crash-points does not ask for all of them.
SOME = 2
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
# Two calls with one parent, and promises that two calls wait for.
FIBONACCI = """
from threading import Event
from resonate import Resonate

resonate = Resonate.remote(group="fibonacci-worker")


@resonate.register
def fibonacci(ctx, n):
    print(f"fibonacci({n})")
    if n < 2:
        return n
    calls = []
    for k in (n - 1, n - 2):
        call = ctx.begin_rpc("fibonacci", k)
        target = "poll://any@fibonacci-worker"
        calls.append((yield call.options(target=target, id=f"fibonacci-{k}")))
    return (yield calls[0]) + (yield calls[1])


resonate.start()
print("is running...")
Event().wait()
"""
ASK = """
import sys
from resonate import Resonate

resonate = Resonate.remote().options(target="poll://any@fibonacci-worker")
n = int(sys.argv[1])
print("Result:", resonate.rpc(f"fibonacci-{n}", "fibonacci", n))
"""


def assert_right(search: CrashSearch, points: list[Point], config: pytest.Config) -> None:
    if search.resonate is not None:
        # After its own crash, a real server refuses a repeated claim, and the SDK exits. It also
        # loses notifications, and the client waits forever.
        points = [point for point in points if point.victim in {"worker", "client"}]
    if config.getoption("--crash-points") == "some":
        # The choice does not depend on the order of the steps.
        points = Random(config.getoption("--crash-seed")).sample(sorted(points), SOME)
    runs = dict(search.crash(points))
    assert not {str(point): run.faults for point, run in runs.items() if run.faults}
    # Workers overtake each other, so that a few points may not occur.
    assert any(run.crashed for run in runs.values())


def fibonacci(folder: Path, n: int) -> Programs:
    """Save a worker and a client."""
    worker, client = folder / "worker.py", folder / "client.py"
    worker.write_text(FIBONACCI)
    client.write_text(ASK)
    return Programs([str(worker)], [str(client), str(n)], "Result: 3")


@pytest.mark.timeout(0)  # the duration depends on --crash-points
def test_a_crash_at_each_step_of_the_protocol(
    server: str | None, pytestconfig: pytest.Config
) -> None:
    search = CrashSearch(Programs.factorial(SCRIPTS, 3), server, workers=2)
    points = search.record()
    steps = list(dict.fromkeys(point.step for point in points if point.moment == "before"))
    parts = [["create factorial-3", "subscribe factorial-3", "notify factorial-3"]]
    for n in (3, 2, 1):
        first, later = [f"invoke factorial-{n}", f"claim factorial-{n}"], ""
        if n > 1:
            first += [f"create factorial-{n - 1}", f"callback factorial-{n - 1}"]
            first += [f"complete task factorial-{n}", f"resume factorial-{n}"]
            first += [f"claim factorial-{n} #2"]
            later = " #2"
        parts.append([*first, f"resolve factorial-{n}", f"complete task factorial-{n}{later}"])
    assert sorted(steps) == sorted(itertools.chain(*parts))
    for part in parts:
        rest = iter(steps)
        assert all(step in rest for step in part), f"{part} is not in this order in {steps}"
    assert_right(search, points, pytestconfig)


@pytest.mark.timeout(0)
def test_a_crash_while_two_callers_wait_for_one_promise(
    server: str | None, pytestconfig: pytest.Config, tmp_path: Path
) -> None:
    search = CrashSearch(fibonacci(tmp_path, 4), server, workers=2)
    assert_right(search, search.record(), pytestconfig)


def test_the_command_finds_a_wrong_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    worker = tmp_path / "forgetful.py"
    worker.write_text(FORGETFUL)
    programs = Programs.factorial(SCRIPTS, 1)._replace(worker=[str(worker)])
    monkeypatch.setattr(Programs, "factorial", lambda *_: programs)
    points = [Point("resolve factorial-1", "worker", moment) for moment in ("before", "after")]
    record = CrashSearch.record
    monkeypatch.setattr(CrashSearch, "record", lambda search: (record(search), points)[1])
    monkeypatch.setattr("demo.crashes.SIDE_BY_SIDE", 1)
    assert crash_everywhere(SCRIPTS, 1, None, 2) == 1
    *_, row, fault, result, _, summary = capsys.readouterr().out.splitlines()
    assert row.split() == ["resolve", "factorial-1", "WRONG", "ok"]
    assert fault == f"{points[0]}: client exited with code 0:"
    assert result == "Result: -1"
    assert summary.startswith("2 crash points, 1 wrong answer; ")


def test_the_command_stops_without_leaving_anything_behind(tmp_path: Path) -> None:
    command = ("-m", "demo", "1", "--crash-everywhere", "--workers", "1")
    with start(*command, env={"TMPDIR": str(tmp_path)}) as stopped:
        stopped.wait_for("before after")
        while not any(tmp_path.iterdir()):
            time.sleep(0.02)  # until the first run has its folder
        stopped.send_signal(signal.SIGINT)
        assert stopped.wait() == 130
        assert stopped.errors == ["demo: Stopped. It left no processes or files behind."]
    wait_for_end(tmp_path)
    assert list(tmp_path.iterdir()) == []
