"""Connections, and starts and stops of the server, recorded for the page.

The page names a worker by its number in its group. The server assigns that number when the
process first connects, so the name is the same after a reload and after a restart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from devserver.store.dispatch import OPEN

if TYPE_CHECKING:
    import sqlite3

# How many events are kept. Each connection makes two.
MAX_EVENTS = 2_000


def connected(db: sqlite3.Connection, process_id: str, group: str, now: int) -> None:
    """Record that a process has opened its stream, and give it a number if it is new."""
    db.execute(
        """INSERT INTO process_events (type, created_on, process_id, poll_group, number)
           SELECT 'connected', :now, :process_id, :poll_group, COALESCE(
               (SELECT number FROM process_events
                WHERE process_id = :process_id AND poll_group = :poll_group),
               (SELECT MAX(number) + 1 FROM process_events WHERE poll_group = :poll_group),
               1)""",
        {"now": now, "process_id": process_id, "poll_group": group},
    )
    _prune(db)


def disconnected(db: sqlite3.Connection, process_id: str, group: str, now: int) -> None:
    """Record that a process has closed its stream."""
    db.execute(
        """INSERT INTO process_events (type, created_on, process_id, poll_group, number)
           SELECT 'disconnected', :now, :process_id, :poll_group, (
               SELECT number FROM process_events
               WHERE process_id = :process_id AND poll_group = :poll_group)""",
        {"now": now, "process_id": process_id, "poll_group": group},
    )
    _prune(db)


def server_started(db: sqlite3.Connection, now: int) -> None:
    """Record that the server has started, and when it was last active before that.

    Call this before the leases are extended. If the server was killed, the newest rows tell when it
    was last active: each step of a run creates a task, and each heartbeat renews a lease.
    """
    db.execute(
        f"""INSERT INTO process_events (type, created_on, active_until)
           SELECT 'started', ?, MAX(time) FROM (
               SELECT MAX(created_on) AS time FROM
                   (SELECT created_on FROM promises ORDER BY sort_id DESC LIMIT 1)
               UNION ALL
               SELECT MAX(created_on, COALESCE(completed_on, 0), COALESCE(claimed_on, 0)) FROM
                   (SELECT * FROM tasks ORDER BY sort_id DESC LIMIT 10)
               UNION ALL
               SELECT MAX(expires_at - ttl) FROM tasks WHERE {OPEN} AND state = 'CLAIMED'
               UNION ALL
               SELECT created_on FROM
                   (SELECT created_on FROM process_events ORDER BY sort_id DESC LIMIT 1))""",
        (now,),
    )
    _prune(db)


def server_stopped(db: sqlite3.Connection, now: int) -> None:
    """Record that the server stops. A server that is killed cannot do this."""
    db.execute("INSERT INTO process_events (type, created_on) VALUES ('stopped', ?)", (now,))
    _prune(db)


def _prune(db: sqlite3.Connection) -> None:
    db.execute(
        "DELETE FROM process_events WHERE sort_id <= (SELECT MAX(sort_id) FROM process_events) - ?",
        (MAX_EVENTS,),
    )
