"""Schedules, which create promises at the times of their cron expressions."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from devserver.store import promises
from devserver.store.cron import next_run
from devserver.store.errors import Code, ProtocolError
from devserver.store.models import CreatePromise, Schedule, Value
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

    from devserver.store.models import CreateSchedule, Search

logger = logging.getLogger(__name__)

# How many schedules one transaction runs. More would make other requests wait too long.
MAX_RUNS = 50


def create(
    db: sqlite3.Connection, request: CreateSchedule, caller: Caller, now: int
) -> tuple[bool, Schedule]:
    """Create a schedule. Its first run is at the next time that matches its cron expression.

    Returns:
        Whether this request created it, and the schedule.

    Raises:
        ProtocolError: the expression is not valid, or another schedule has that id.
    """
    try:
        next_run_time = next_run(request.cron, now)
    except ValueError as e:
        raise ProtocolError(Code.INVALID, f"the field cron is not valid: {e}") from e
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
        ProtocolError: no schedule has that id.
    """
    schedule = _find(db, schedule_id)
    if schedule is None:
        raise ProtocolError(Code.SCHEDULE_NOT_FOUND)
    return schedule


def search(db: sqlite3.Connection, query: Search) -> list[tuple[int, Schedule]]:
    """Find schedules, newest first.

    Returns:
        Up to `query.limit` schedules, each with its place in the order of creation.
    """
    rows = db.execute(
        f"SELECT * FROM schedules WHERE {SEARCH} ORDER BY sort_id DESC LIMIT :limit",
        search_parameters(query),
    ).fetchall()
    return [(row["sort_id"], _to_schedule(row)) for row in rows]


def delete(db: sqlite3.Connection, schedule_id: str) -> None:
    """Delete a schedule, but not the promises that it has created.

    Raises:
        ProtocolError: no schedule has that id.
    """
    if not db.execute("DELETE FROM schedules WHERE id = ?", (schedule_id,)).rowcount:
        raise ProtocolError(Code.SCHEDULE_NOT_FOUND)


def run_due(db: sqlite3.Connection, now: int) -> None:
    """Run the schedules that are due, at most `MAX_RUNS` of them: create their promises.

    If a schedule missed several runs because the server was down, it runs only once.
    """
    due = db.execute(
        "SELECT * FROM schedules WHERE next_run_time <= ? ORDER BY next_run_time, sort_id LIMIT ?",
        (now, MAX_RUNS),
    ).fetchall()
    for row in due:
        schedule = _to_schedule(row)
        try:
            _run(db, schedule, now)
            next_run_time = _next_run_time(schedule, now)
        except ValueError as e:
            # The id of its promise may be too long, or its expression may not have a time in the
            # next five years any more.
            logger.warning("Schedule %s was stopped: %s", schedule.id, e)
            next_run_time = MAX_TIME
        db.execute(
            "UPDATE schedules SET last_run_time = next_run_time, next_run_time = ? WHERE id = ?",
            (next_run_time, schedule.id),
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
        return  # A client has already created the promise of this run.
    promises.create(db, request, Caller(), now)


def _next_run_time(schedule: Schedule, now: int) -> int:
    # Count from the run that is due, so that the runs of `@every` keep their distance.
    time = next_run(schedule.cron, schedule.next_run_time)
    return time if time > now else next_run(schedule.cron, now)


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
