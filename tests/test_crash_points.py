"""Crashes at exactly chosen steps: the answer is always right, and no promise changes."""

from __future__ import annotations

import itertools
import re
import signal
import time
from random import Random
from typing import TYPE_CHECKING

import pytest

from demo.cluster import ROOT
from demo.crashes import CrashRun, CrashSearch, Point, Programs, crash_everywhere
from tests.pages import blocks
from tests.programs import start, wait_for_end

if TYPE_CHECKING:
    from pathlib import Path

# How many points each test tries if --crash-points does not ask for all of them.
SOME = 3
# The requests and messages of n = 2, in this order for the client and for each of the two calls.
STEPS = [
    ["create factorial-2", "subscribe factorial-2", "notify factorial-2"],
    [
        "invoke factorial-2",
        "claim factorial-2",
        "create factorial-1",
        "callback factorial-1",
        "complete task factorial-2",
        "resume factorial-2",
        "claim factorial-2 #2",
        "resolve factorial-2",
        "complete task factorial-2 #2",
    ],
    ["invoke factorial-1", "claim factorial-1", "resolve factorial-1", "complete task factorial-1"],
]
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


def assert_right(search: CrashSearch, config: pytest.Config) -> None:
    points = search.record()
    if config.getoption("--crash-points") == "some":
        # The choice does not depend on the order of the steps.
        points = Random(config.getoption("--crash-seed")).sample(sorted(points, key=str), SOME)
    runs = dict(search.crash(points))
    assert not {str(point): run.faults for point, run in runs.items() if run.faults}
    # Workers overtake each other, so that a few points may not occur.
    assert sum(bool(run.crashed) for run in runs.values()) > len(runs) / 2


def fibonacci(folder: Path, n: int) -> Programs:
    """Save the programs of the page with a smaller n."""
    scripts = []
    for block in blocks(ROOT / "docs" / "things-to-try.md", "python")[:2]:
        text = block.text.replace("fibonacci-30", f"fibonacci-{n}").replace("n=30", f"n={n}")
        path = folder / block.above.strip("`:")
        path.write_text(text + "\n")
        scripts.append([str(path)])
    worker, client = scripts
    return Programs(worker, client, "Result: 3")


def test_the_proxy_names_each_step_in_the_diagrams_words(server: str | None) -> None:
    run = CrashRun(CrashSearch(Programs.factorial(2), server), None).run()
    assert run.faults == []
    steps = [step for step, moment in run.steps if moment == "before"]
    assert sorted(steps) == sorted(itertools.chain(*STEPS))
    for part in STEPS:
        rest = iter(steps)
        assert all(step in rest for step in part), f"{part} is not in this order in {steps}"


@pytest.mark.timeout(0)  # the duration depends on --crash-points
def test_a_crash_at_each_of_some_points(server: str | None, pytestconfig: pytest.Config) -> None:
    assert_right(CrashSearch(Programs.factorial(3), server, workers=2), pytestconfig)


@pytest.mark.timeout(0)
def test_a_crash_while_two_callers_wait_for_one_promise(
    server: str | None, pytestconfig: pytest.Config, tmp_path: Path
) -> None:
    assert_right(CrashSearch(fibonacci(tmp_path, 4), server, workers=2), pytestconfig)


def test_a_wrong_answer_is_found(tmp_path: Path) -> None:
    worker = tmp_path / "forgetful.py"
    worker.write_text(FORGETFUL)
    right = Programs.factorial(1)
    search = CrashSearch(right._replace(worker=[str(worker)]), workers=2)
    search.record()
    ((_, run),) = search.crash([Point("resolve factorial-1", "worker", "before")])
    assert run.faults == ["client exited with code 0:\nResult: -1"]


def test_the_command_prints_a_row_for_each_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = CrashSearch.record
    monkeypatch.setattr(CrashSearch, "record", lambda search: record(search)[:2])
    assert crash_everywhere(1, None, 1) == 0
    *_, row, _, summary = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"create factorial-1 +ok +ok", row)
    assert re.fullmatch(
        r"2 crash points, no wrong answers; 0 calls ran again; the slowest recovery took .* s",
        summary,
    )


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
