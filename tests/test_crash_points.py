"""Crashes at exactly chosen steps: the answer is always right, and no promise changes."""

from __future__ import annotations

import itertools
import sys
from random import Random
from typing import TYPE_CHECKING

import pytest

from demo.cluster import ROOT
from demo.crashes.cluster import CrashCluster
from demo.crashes.everywhere import Everywhere
from demo.crashes.points import Recursion, points_of
from tests.pages import blocks

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from demo.crashes.everywhere import Verdict
    from demo.crashes.points import Point

SIDE_BY_SIDE = 3
# With a real server, most of the time is spent on waiting for leases to expire.
SIDE_BY_SIDE_OF_RESONATE = 12
# How many points are tried if --crash-points does not ask for all of them.
SOME = 6
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
        "claim factorial-2",
        "resolve factorial-2",
        "complete task factorial-2",
    ],
    [
        "invoke factorial-1",
        "claim factorial-1",
        "resolve factorial-1",
        "complete task factorial-1",
    ],
]


def crashes_of(recursion: Recursion, server: str | None) -> Everywhere:
    side_by_side = SIDE_BY_SIDE if server is None else SIDE_BY_SIDE_OF_RESONATE
    return Everywhere(recursion, server, side_by_side=side_by_side)


def some(points: Iterable[Point], seed: int) -> list[Point]:
    """Choose some points. The choice does not depend on the order of the steps."""
    return Random(seed).sample(sorted(points, key=str), SOME)


def assert_right(verdicts: Iterable[Verdict]) -> list[Verdict]:
    found = list(verdicts)
    assert not [str(verdict) for verdict in found if not verdict.is_right]
    return found


def fibonacci(folder: Path, n: int) -> Recursion:
    """Save the programs of the page with a smaller n."""
    for block in blocks(ROOT / "docs" / "things-to-try.md", "python"):
        text = block.text.replace("fibonacci-30", f"fibonacci-{n}").replace("n=30", f"n={n}")
        (folder / block.above.strip("`:")).write_text(text + "\n")
    worker, client = (str(folder / f"fibonacci_{part}.py") for part in ("worker", "client"))
    return Recursion((sys.executable, worker), (sys.executable, client), "Result: 3")


def test_the_proxy_names_each_step_in_the_diagrams_words(server: str | None) -> None:
    with CrashCluster(Recursion.factorial(2), resonate=server, pace=0.2) as cluster:
        outcome = cluster.run()
    assert outcome.faults == []
    steps = [passage.step for _, passage in outcome.passages if passage.moment == "before"]
    assert sorted(steps) == sorted(itertools.chain(*STEPS))
    for part in STEPS:
        rest = iter(steps)
        assert all(step in rest for step in part), f"{part} is not in this order in {steps}"


@pytest.mark.timeout(0)  # the duration depends on --crash-points
def test_a_crash_at_each_of_some_points(server: str | None, pytestconfig: pytest.Config) -> None:
    everywhere = crashes_of(Recursion.factorial(3), server)
    points = everywhere.record()
    assert len(points) > 100
    if pytestconfig.getoption("--crash-points") == "some":
        points = some(points, pytestconfig.getoption("--crash-seed"))
    verdicts = assert_right(everywhere.crash([(point,) for point in points]))
    # Three workers interleave differently each time, so that a few points may not occur.
    assert sum(verdict.has_occurred for verdict in verdicts) > len(verdicts) / 2


@pytest.mark.timeout(0)
def test_a_second_crash_during_the_recovery_from_some_first_ones(
    server: str | None, pytestconfig: pytest.Config
) -> None:
    everywhere = crashes_of(Recursion.factorial(2), server)
    points = everywhere.record()
    seed = pytestconfig.getoption("--crash-seed")
    is_some = pytestconfig.getoption("--crash-points") == "some"
    firsts = some(points, seed) if is_some else points
    pairs = []
    for first in assert_right(everywhere.crash([(point,) for point in firsts])):
        seconds = points_of(first.outcome)
        if is_some:
            seconds = Random(seed).sample(seconds, min(len(seconds), 1))
        pairs += [(*first.points, second) for second in seconds]
    verdicts = assert_right(everywhere.crash(pairs))
    assert any(verdict.has_occurred for verdict in verdicts)


@pytest.mark.timeout(0)
def test_a_crash_while_two_callers_wait_for_one_promise(
    server: str | None, pytestconfig: pytest.Config, tmp_path: Path
) -> None:
    everywhere = crashes_of(fibonacci(tmp_path, 4), server)
    points = everywhere.record()
    if pytestconfig.getoption("--crash-points") == "some":
        points = some(points, pytestconfig.getoption("--crash-seed"))
    verdicts = assert_right(everywhere.crash([(point,) for point in points]))
    assert any(verdict.has_occurred for verdict in verdicts)
