"""Schedules: when they run, and which promises they create."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from devserver.store import deadlines, promises, schedules
from devserver.store.errors import Code, ProtocolError
from devserver.store.models import CreateSchedule
from devserver.store.promises import Caller

if TYPE_CHECKING:
    import sqlite3


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


NOW = ms("2026-01-01T10:00:30.5Z")


def create(
    db: sqlite3.Connection, name: str, cron: str, promise_id: str = "{{.id}} at {{.timestamp}}"
) -> int:
    """Create a schedule. Returns the time of its first run."""
    request = CreateSchedule(name, cron, promise_id, promise_timeout=500)
    return schedules.create(db, request, Caller(), NOW)[1].next_run_time


@pytest.mark.parametrize(
    ("cron", "first", "second"),
    [
        ("* * * * *", "2026-01-01T10:01:00Z", "2026-01-01T10:02:00Z"),
        ("*/10 * * * * *", "2026-01-01T10:00:40Z", "2026-01-01T10:00:50Z"),
        ("0 9-17/4 * * *", "2026-01-01T13:00:00Z", "2026-01-01T17:00:00Z"),
        ("0 0 29 2 *", "2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"),
        ("0 9 * * mon,FRI", "2026-01-02T09:00:00Z", "2026-01-05T09:00:00Z"),
        ("0 0 13 * FRI", "2026-01-02T00:00:00Z", "2026-01-09T00:00:00Z"),  # either is enough
        ("@weekly", "2026-01-04T00:00:00Z", "2026-01-11T00:00:00Z"),
        ("@every 1h30m", "2026-01-01T11:30:30Z", "2026-01-01T13:00:30Z"),
    ],
)
def test_each_time_of_the_expression_creates_a_promise(
    db: sqlite3.Connection, cron: str, first: str, second: str
) -> None:
    due = create(db, "s", cron)
    assert due == deadlines.next_due(db) == ms(first)
    deadlines.expire(db, due + 400)
    promise = promises.get(db, f"s at {due}", due)
    assert promise.timeout == due + 500
    assert promise.tags == {"resonate:schedule": "s", "resonate:invocation": "true"}
    schedule = schedules.get(db, "s")
    assert (schedule.last_run_time, schedule.next_run_time) == (due, ms(second))


@pytest.mark.parametrize(
    "cron",
    [
        *("odd", "* * *", "60 * * * *", "@never", " ", "@every ", "@every 1d", "TZ=UTC * * * * *"),
        "0 0 31 2 *",  # valid, but this day does not exist
        *("@every " + "9" * 100_000 + "s", "1," * 50_000 + "1 * * * *"),
    ],
)
def test_an_expression_without_a_time_is_refused(db: sqlite3.Connection, cron: str) -> None:
    with pytest.raises(ProtocolError) as error:
        create(db, "s", cron)
    assert error.value.code == Code.INVALID


def test_a_schedule_that_cannot_run_stops_alone(
    db: sqlite3.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    due = create(db, "s", "* * * * *")
    create(db, "too long", "* * * * *", "{{.id}}" * 1_100)
    create(db, "never", "* * * * *", "never")
    db.execute("UPDATE schedules SET cron = '0 0 31 2 *' WHERE id = 'never'")
    deadlines.expire(db, due)
    assert promises.exists(db, f"s at {due}")
    for name in ("too long", "never"):
        assert schedules.get(db, name).next_run_time > ms("2100-01-01T00:00:00Z")
        assert f"Schedule {name} was stopped" in caplog.text


def test_many_schedules_run_in_portions_and_missed_runs_only_once(db: sqlite3.Connection) -> None:
    for i in range(80):
        due = create(db, f"s{i}", "* * * * *")
    for count in (50, 80):
        assert deadlines.next_due(db) == due
        deadlines.expire(db, due + 3_600_001)
        assert len(db.execute("SELECT * FROM promises").fetchall()) == count
    assert deadlines.next_due(db) == due + 500, "the timeout of the promises"
    assert schedules.get(db, "s0").next_run_time == due + 3_660_000
