"""The transitions that happen because time passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from devserver.store import promises, schedules, tasks
from devserver.store.tasks import OPEN

if TYPE_CHECKING:
    import sqlite3


def expire(db: sqlite3.Connection, now: int) -> None:
    """Time out promises and tasks, and run schedules, if they are due.

    Leases have a function of their own, `tasks.take_back_expired`: the engine must know whose
    lease has expired before it sends the task again.
    """
    promises.time_out(db, now)
    tasks.time_out_parked(db, now)
    schedules.run_due(db, now)


def next_due(db: sqlite3.Connection, now: int) -> int | None:
    """Find out when a promise, a task or a schedule is due next.

    Returns:
        That time in ms since the epoch, or None if nothing depends on the time.
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
