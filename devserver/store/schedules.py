"""Schedules: promises that are created again and again."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from croniter import croniter

from devserver.errors import Code, ProtocolError
from devserver.models import CreatePromise, Schedule, Value
from devserver.store import promises
from devserver.store.promises import Caller
from devserver.store.rows import (
    SEARCH,
    decode_strings,
    encode_strings,
    insert,
    search_parameters,
)
from devserver.store.tasks import MAX_TIME

if TYPE_CHECKING:
    import sqlite3

    from devserver.models import CreateSchedule, Search


def create(
    db: sqlite3.Connection, request: CreateSchedule, caller: Caller, now: int
) -> tuple[bool, Schedule]:
    """Create a schedule; its first run is at the next time that its cron expression names.

    Returns:
        Whether it is new, and the schedule.

    Raises:
        ProtocolError: the expression is not valid, or there is another schedule of that name.
    """
    next_run_time = _next_time(request.cron, now)
    found = _find(db, request.id)
    if found is not None:
        if caller.repeats(found.idempotency_key):
            return False, found
        raise ProtocolError(Code.SCHEDULE_EXISTS)
    row = insert(
        db,
        "schedules",
        id=request.id,
        description=request.description,
        cron=request.cron,
        tags=encode_strings(request.tags),
        promise_id=request.promise_id,
        promise_timeout=request.promise_timeout,
        promise_headers=encode_strings(request.promise_param.headers),
        promise_data=request.promise_param.data,
        promise_tags=encode_strings(request.promise_tags),
        next_run_time=next_run_time,
        idempotency_key=caller.idempotency_key,
        created_on=now,
    )
    return True, _to_schedule(row)


def get(db: sqlite3.Connection, schedule_id: str) -> Schedule:
    """Read a schedule.

    Raises:
        ProtocolError: there is none with that id.
    """
    schedule = _find(db, schedule_id)
    if schedule is None:
        raise ProtocolError(Code.SCHEDULE_NOT_FOUND)
    return schedule


def search(db: sqlite3.Connection, query: Search) -> list[tuple[int, Schedule]]:
    """Find schedules, the newest first.

    Returns:
        At most as many as the query's limit, each with its place in the order of creation.
    """
    rows = db.execute(
        f"SELECT * FROM schedules WHERE {SEARCH} ORDER BY sort_id DESC LIMIT :limit",
        search_parameters(query),
    ).fetchall()
    return [(row["sort_id"], _to_schedule(row)) for row in rows]


def delete(db: sqlite3.Connection, schedule_id: str) -> None:
    """Delete a schedule; the promises that it has created stay.

    Raises:
        ProtocolError: there is none with that id.
    """
    if not db.execute("DELETE FROM schedules WHERE id = ?", (schedule_id,)).rowcount:
        raise ProtocolError(Code.SCHEDULE_NOT_FOUND)


def run_due(db: sqlite3.Connection, now: int) -> None:
    """Create the promises of all schedules whose time has come.

    A schedule that has missed several times, because the server was down, runs once for them.
    """
    due = db.execute(
        "SELECT * FROM schedules WHERE next_run_time <= ? ORDER BY next_run_time, sort_id", (now,)
    ).fetchall()
    for row in due:
        schedule = _to_schedule(row)
        _run(db, schedule, now)
        db.execute(
            "UPDATE schedules SET last_run_time = next_run_time, next_run_time = ? WHERE id = ?",
            (_next_time(schedule.cron, now), schedule.id),
        )


def _run(db: sqlite3.Connection, schedule: Schedule, now: int) -> None:
    time = schedule.next_run_time
    promise_id = schedule.promise_id
    for name, value in (("id", schedule.id), ("timestamp", str(time))):
        promise_id = promise_id.replace(f"{{{{.{name}}}}}", value)
    request = CreatePromise(
        id=promise_id,
        param=schedule.promise_param,
        timeout=min(time + schedule.promise_timeout, MAX_TIME),
        tags=schedule.promise_tags
        | {"resonate:schedule": schedule.id, "resonate:invocation": "true"},
    )
    if promises.exists(db, promise_id):
        return  # somebody else has made this run's promise, and it is made once
    promises.create(db, request, Caller(), now)


def _next_time(cron: str, after: int) -> int:
    """Find the next time that a cron expression names, on this machine's clock, in ms."""
    if not cron.startswith("@") and len(cron.split()) not in {5, 6}:
        raise ProtocolError(Code.INVALID, "the field cron must be a valid cron expression")
    begin = datetime.fromtimestamp(after / 1000)  # noqa: DTZ006 - cron means local time
    try:
        found: datetime = croniter(cron, begin, second_at_beginning=True).get_next(datetime)
    except (ValueError, KeyError) as e:
        detail = "the field cron must be a valid cron expression"
        raise ProtocolError(Code.INVALID, detail) from e
    return int(found.timestamp()) * 1000


def _find(db: sqlite3.Connection, schedule_id: str) -> Schedule | None:
    row = db.execute("SELECT * FROM schedules WHERE id = ?", (schedule_id,)).fetchone()
    return None if row is None else _to_schedule(row)


def _to_schedule(row: sqlite3.Row) -> Schedule:
    return Schedule(
        id=row["id"],
        description=row["description"],
        cron=row["cron"],
        tags=decode_strings(row["tags"]),
        promise_id=row["promise_id"],
        promise_timeout=row["promise_timeout"],
        promise_param=Value(decode_strings(row["promise_headers"]), row["promise_data"]),
        promise_tags=decode_strings(row["promise_tags"]),
        last_run_time=row["last_run_time"],
        next_run_time=row["next_run_time"],
        idempotency_key=row["idempotency_key"],
        created_on=row["created_on"],
    )
