"""Schedules: when they run, and which promises they create."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from devserver.errors import Code, ProtocolError
from devserver.models import CreateSchedule, Schedule
from devserver.store import deadlines, promises, schedules
from devserver.store.promises import Caller

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

ANYBODY = Caller()


@pytest.fixture(autouse=True)
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set a time zone in which the clocks change."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * 1000


def create(db: sqlite3.Connection, cron: str, now: int, timeout: int = 500) -> Schedule:
    request = CreateSchedule("s", cron, "{{.id}} at {{.timestamp}}", promise_timeout=timeout)
    _, schedule = schedules.create(db, request, ANYBODY, now)
    return schedule


@pytest.mark.parametrize(
    ("cron", "now", "then"),
    [
        ("* * * * *", "2026-01-01T10:00:00+01:00", "2026-01-01T10:01:00+01:00"),
        ("* * * * *", "2026-01-01T10:00:59+01:00", "2026-01-01T10:01:00+01:00"),
        ("*/10 * * * * *", "2026-01-01T10:00:05+01:00", "2026-01-01T10:00:10+01:00"),
        ("30 14 * * *", "2026-01-01T15:00:00+01:00", "2026-01-02T14:30:00+01:00"),
        ("0 0 29 2 *", "2026-01-01T00:00:00+01:00", "2028-02-29T00:00:00+01:00"),
        ("0 9 * * MON", "2026-01-01T00:00:00+01:00", "2026-01-05T09:00:00+01:00"),
        ("@daily", "2026-01-01T10:00:00+01:00", "2026-01-02T00:00:00+01:00"),
        ("0 12 * * *", "2026-03-28T13:00:00+01:00", "2026-03-29T12:00:00+02:00"),
        ("0 12 * * *", "2026-10-24T13:00:00+02:00", "2026-10-25T12:00:00+01:00"),
    ],
)
def test_runs_follow_the_local_time(db: sqlite3.Connection, cron: str, now: str, then: str) -> None:
    assert create(db, cron, ms(now)).next_run_time == ms(then)


@pytest.mark.parametrize(
    "cron",
    [
        *("odd", "* * *", "60 * * * *", "* * * * * * *", "@never", " ", "0 0 * * 7", "0 0 L * *"),
        # Valid, but this day does not exist.
        *("0 0 31 2 *", ", * * * *"),
        # Long enough to keep a server busy.
        *("@every " + "9" * 100_000 + "s", "*/" + "9" * 5_000 + " * * * *"),
    ],
)
def test_refuses_an_expression_that_names_no_time(db: sqlite3.Connection, cron: str) -> None:
    with pytest.raises(ProtocolError) as error:
        create(db, cron, 0)
    assert error.value.code == Code.INVALID


@pytest.mark.parametrize(
    ("cron", "runs"),
    [
        # The clock goes back from 03:00 to 02:00 at 01:00 UTC.
        ("* * 25 10 *", 25 * 60),
        ("*/30 2 25 10 *", 4),
        ("30 2 25 10 *", 2),
        ("0 * 25 10 *", 25),
        ("0 3 25 10 *", 1),
        # And forward from 02:00 to 03:00.
        ("* * 29 3 *", 23 * 60),
        ("30 2 29 3 *", 0),
        ("0 * 29 3 *", 23),
    ],
)
def test_runs_whenever_the_clock_shows_the_time_when_it_changes(
    db: sqlite3.Connection, cron: str, runs: int
) -> None:
    now = ms("2026-01-01T00:00:00+01:00")
    end = ms("2026-12-31T00:00:00+01:00")
    create(db, cron, now, timeout=2**40)
    while (due := deadlines.next_due(db, now)) is not None and due < end:
        assert due > now
        now = due
        deadlines.expire(db, now)
        # The promises that this schedule has created are not due before the end.
        assert schedules.get(db, "s").next_run_time > now
    (count,) = db.execute("SELECT count(*) FROM promises").fetchone()
    assert count == runs


def test_in_the_repeated_hour_the_next_run_is_in_the_future(db: sqlite3.Connection) -> None:
    second_pass = ms("2026-10-25T02:30:00+01:00")
    for cron, due in (
        ("* * * * *", "2026-10-25T02:31:00+01:00"),
        ("0 * * * *", "2026-10-25T03:00:00+01:00"),
        ("45 2 * * *", "2026-10-25T02:45:00+01:00"),
        ("15 2 * * *", "2026-10-26T02:15:00+01:00"),
    ):
        assert create(db, cron, second_pass).next_run_time == ms(due)
        schedules.delete(db, "s")


def test_an_interval_stays_the_same_when_a_run_is_late(db: sqlite3.Connection) -> None:
    now = ms("2026-01-01T10:00:00+01:00")
    create(db, "@every 90s", now)
    deadlines.expire(db, now + 91_500)
    assert schedules.get(db, "s").next_run_time == now + 180_000


def test_an_expression_that_is_not_valid_any_more_stops_only_its_schedule(
    db: sqlite3.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    now = ms("2026-01-01T10:00:00+01:00")
    create(db, "* * * * *", now)
    db.execute("UPDATE schedules SET cron = '0 0 L * *'")
    deadlines.expire(db, now + 60_000)
    assert promises.exists(db, f"s at {now + 60_000}")
    assert schedules.get(db, "s").next_run_time > ms("2100-01-01T00:00:00+01:00")
    assert "Schedule s was stopped" in caplog.text


def test_makes_a_promise_at_each_time(db: sqlite3.Connection) -> None:
    now = ms("2026-01-01T10:00:00+01:00")
    create(db, "* * * * *", now)
    for minute in (1, 2):
        due = now + minute * 60_000
        assert deadlines.next_due(db, due - 1) == due
        deadlines.expire(db, due)
        promise = promises.get(db, f"s at {due}", due)
        assert promise.timeout == due + 500
        assert promise.tags == {"resonate:schedule": "s", "resonate:invocation": "true"}
        schedule = schedules.get(db, "s")
        assert (schedule.last_run_time, schedule.next_run_time) == (due, due + 60_000)
        deadlines.expire(db, due + 500)


def test_one_run_replaces_all_missed_runs(db: sqlite3.Connection) -> None:
    now = ms("2026-01-01T10:00:00+01:00")
    create(db, "* * * * *", now)
    deadlines.expire(db, now + 3_600_000 + 1)
    assert promises.exists(db, f"s at {now + 60_000}")
    (count,) = db.execute("SELECT count(*) FROM promises").fetchone()
    assert count == 1
    assert schedules.get(db, "s").next_run_time == now + 3_660_000


def test_a_deleted_schedule_does_not_run(db: sqlite3.Connection) -> None:
    now = ms("2026-01-01T10:00:00+01:00")
    create(db, "* * * * *", now)
    schedules.delete(db, "s")
    assert deadlines.next_due(db, now) is None
    with pytest.raises(ProtocolError) as error:
        schedules.delete(db, "s")
    assert error.value.code == Code.SCHEDULE_NOT_FOUND
