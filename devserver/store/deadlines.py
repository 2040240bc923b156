"""The transitions that become due as time passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from devserver.store import promises, schedules, tasks
from devserver.store.tasks import OPEN

if TYPE_CHECKING:
    import sqlite3


def expire(db: sqlite3.Connection, now: int) -> None:
    """Time out promises and tasks, and run schedules, if they are due.

    Leases have a separate function, `tasks.take_back_expired`, because the engine must know which
    process let its lease expire before it sends the task again.
    """
    promises.time_out(db, now)
    tasks.time_out_parked(db, now)
    schedules.run_due(db, now)


def next_due(db: sqlite3.Connection, now: int) -> int | None:
    """Find the time when the next promise, task or schedule is due.

    Returns:
        This time in ms since the epoch, or None if nothing is waiting for a time.
    """
    (due,) = db.execute(
        f"""SELECT MIN(due) FROM (
                SELECT MIN(timeout) AS due FROM promises WHERE state = 'PENDING'
                UNION ALL
                SELECT MIN(expires_at) FROM tasks WHERE {OPEN} AND state = 'ENQUEUED'
                UNION ALL
                SELECT MIN(expires_at) FROM tasks WHERE {OPEN} AND state = 'CLAIMED'
                UNION ALL
                SELECT MIN(expires_at) FROM tasks WHERE {OPEN} AND state = 'PARKED'
                UNION ALL
                SELECT MIN(expires_at) FROM tasks
                WHERE {OPEN} AND state = 'INIT' AND expires_at > ?
                UNION ALL
                SELECT MIN(next_run_time) FROM schedules)""",
        (now,),
    ).fetchone()
    return None if due is None else int(due)
