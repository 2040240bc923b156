"""A cron expression has the same meaning as on the real server."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from devserver.cron import CronError, next_run
from tests.differential.cron import AROUND_CHANGES, CHANGES, EXPRESSIONS, ZONES, Runs, read

if TYPE_CHECKING:
    from collections.abc import Iterator

RUNS = read()
# Go's zero time. The real server's cron library returns it if a schedule does not run within five
# years.
NEVER = -62_135_596_800_000


@pytest.fixture
def _zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("_zone")
@pytest.mark.parametrize(
    ("_zone", "runs"),
    [(zone, [runs for runs in RUNS if runs.zone == zone]) for zone in ZONES],
    indirect=["_zone"],
    ids=ZONES,
)
def test_a_schedule_runs_when_the_real_server_runs_it(runs: list[Runs]) -> None:
    assert [ours(run) for run in runs] == runs


def ours(runs: Runs) -> Runs:
    """Compute each of the runs from the one before it."""
    if runs.times is None:
        with pytest.raises(CronError):
            next_run(runs.cron, time.time_ns() // 1_000_000)
        return runs
    following = [next_run(runs.cron, earlier) for earlier, _ in pairwise(runs.times)]
    times = [NEVER if run is None else run for run in following]
    return runs._replace(times=[runs.times[0], *times])


def test_every_expression_is_recorded() -> None:
    recorded = {(runs.zone, runs.cron) for runs in RUNS}
    assert recorded >= {(zone, cron) for zone in ZONES for cron in EXPRESSIONS}
    assert recorded >= {
        ("UTC", f"CRON_TZ={zone} {cron.format(day)}")
        for zone, days in CHANGES.items()
        for day, _ in days
        for cron in AROUND_CHANGES
    }
