"""The transitions that become due as time passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from devserver.store import dispatch, promises, schedules
from devserver.store.dispatch import OPEN

if TYPE_CHECKING:
    import sqlite3


def expire(db: sqlite3.Connection, now: int) -> None:
    """Time out promises and tasks, and run schedules, if they are due.

    Each of them does only so much in one transaction that other requests need not wait for long.
    `next_due` says whether more is due. Leases have a separate function,
    `dispatch.take_back_expired`, because the engine must know which process let its lease expire
    before it sends the task again.
    """
    promises.time_out(db, now)
    dispatch.time_out_waiting(db, now)
    schedules.run_due(db, now)


def next_due(db: sqlite3.Connection) -> int | None:
    """Find the time when the next promise, task or schedule is due.

    Returns:
        This time in ms since the epoch, or None if nothing is waiting for a time.
    """
    of_tasks = " UNION ALL ".join(
        f"SELECT MIN(expires_at) FROM tasks WHERE {OPEN} AND state = '{state}'"
        for state in ("INIT", "BLOCKED", "PARKED", "ENQUEUED", "CLAIMED")
    )
    (due,) = db.execute(
        f"""SELECT MIN(due) FROM (
                SELECT MIN(timeout) AS due FROM promises WHERE state = 'PENDING'
                UNION ALL {of_tasks}
                UNION ALL SELECT MIN(next_run_time) FROM schedules)"""
    ).fetchone()
    return None if due is None else int(due)
