"""What happens because time passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from devserver.store import promises, schedules, tasks
from devserver.store.tasks import OPEN

if TYPE_CHECKING:
    import sqlite3


def expire(db: sqlite3.Connection, now: int) -> set[str]:
    """Time out promises, end leases, and run schedules, whichever have come to their time.

    Returns:
        The processes that have let a message lie or a lease run out.
    """
    promises.time_out(db, now)
    schedules.run_due(db, now)
    return tasks.take_back_expired(db, now)


def next_due(db: sqlite3.Connection, now: int) -> int | None:
    """Say when time will next have something to do.

    Returns:
        That time in ms since the epoch, or None where nothing waits for a time.
    """
    (due,) = db.execute(
        f"""SELECT MIN(due) FROM (
                SELECT MIN(timeout) AS due FROM promises WHERE state = 'PENDING'
                UNION ALL
                SELECT MIN(expires_at) FROM tasks WHERE {OPEN} AND state = 'ENQUEUED'
                UNION ALL
                SELECT MIN(expires_at) FROM tasks WHERE {OPEN} AND state = 'CLAIMED'
                UNION ALL
                SELECT MIN(expires_at) FROM tasks
                WHERE {OPEN} AND state = 'INIT' AND expires_at > ?
                UNION ALL
                SELECT MIN(next_run_time) FROM schedules)""",
        (now,),
    ).fetchone()
    return None if due is None else int(due)
