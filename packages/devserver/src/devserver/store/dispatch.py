"""Which ready tasks are sent to which process, and which tasks are taken back from one.

A task that can be sent is INIT. In the next commit, it is sent (ENQUEUED), or it waits: BLOCKED
while another task of its root is out, PARKED while no connection takes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from devserver.store import address
from devserver.store.models import PromiseState, Task, TaskState
from devserver.store.rows import MessageType, decode_strings, to_task

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from devserver.store.address import Address

    type Choose = Callable[[Address, MessageType], str | None]

# How long a process may take to claim a task that it was sent. Each claim of the process gives its
# other messages the same time again, because the SDK claims one after another.
TIME_TO_CLAIM_MS = 10_000
# How many messages a process may have that it has not claimed yet. The SDK exits if it claims one
# too late, so the server does not send more than a process claims soon.
MAX_UNCLAIMED = 10
# How many tasks one transaction sends. More would let other requests wait.
MAX_SENT = 250
# How long a call waits before it is sent again after two processes in a row have ended while they
# had claimed it (ms). The time doubles with each further one.
FIRST_PAUSE_MS, LONGEST_PAUSE_MS = 5_000, 60_000

# SQLite uses the partial indices of `schema.sql` only if a query repeats their condition.
OPEN = "state IN ('INIT', 'BLOCKED', 'PARKED', 'ENQUEUED', 'CLAIMED')"
OUT = f"{OPEN} AND state IN ('ENQUEUED', 'CLAIMED')"

type Outcome = Literal["disconnected", "expired", "dropped"]


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message: a task to claim, or the id of a promise that is complete."""

    type: MessageType
    task: Task | None = None
    promise_id: str | None = None
    head: dict[str, str] = {}


class Delivery(NamedTuple):
    """A message, the group and the process that get it, and the id of its task."""

    group: str
    process_id: str
    task_id: str
    message: Message


class Suspect(NamedTuple):
    """A call whose processes end: its promise, how many have ended in a row, and the next try.

    Args:
        promise_id: the promise whose function they ran.
        deaths: how many processes ended while they had claimed one of its tasks.
        pause: how long the server waits before it sends the task again (ms).
    """

    promise_id: str
    deaths: int
    pause: int


def send_ready(db: sqlite3.Connection, choose: Choose, now: int) -> list[Delivery]:
    """Decide about each task that is ready to be sent.

    Args:
        db: the database.
        choose: returns the process that gets a message, by its address and type, or None if no
            connection takes it; see `Connections`.
        now: ms since the epoch.

    Returns:
        What to send after the commit.
    """
    deliveries: list[Delivery] = []
    decided = 0
    while decided < MAX_SENT:
        rows = _ready(db, now)
        sent = [delivery for row in rows if (delivery := _decide(db, row, choose, now))]
        deliveries += sent
        decided += len(rows)
        if len(sent) == len(rows):
            break  # a task that was not sent can have made others ready
    return deliveries


def _decide(db: sqlite3.Connection, row: sqlite3.Row, choose: Choose, now: int) -> Delivery | None:
    is_notification = row["type"] == "notify"
    if now >= row["timeout"]:
        finish(db, row["id"], TaskState.TIMEDOUT, row["timeout"])
    elif not is_notification and row["root_state"] not in (None, PromiseState.PENDING):
        finish(db, row["id"], TaskState.COMPLETED, now)
    elif not is_notification and _is_another_out(db, row["root_promise_id"]):
        db.execute(
            "UPDATE tasks SET state = 'BLOCKED', expires_at = timeout WHERE id = ?", (row["id"],)
        )
    else:
        target = address.parse(row["recv"])
        process_id = None if target is None else choose(target, row["type"])
        if target is not None and process_id is not None:
            return _send(db, row, target.group, process_id, now)
        _park(db, row, target)
        return None
    # If the task was parked, it was woken for a process that can take another one now.
    _wake_parked(db, row["poll_group"], row["parked_id"], 1)
    return None


def _send(
    db: sqlite3.Connection, row: sqlite3.Row, group: str, process_id: str, now: int
) -> Delivery:
    task, head = to_task(row), decode_strings(row["head"])
    if row["type"] == "notify":
        message = Message("notify", promise_id=task.root_promise_id, head=head)
        expires_at = task.timeout  # processes do not claim it
    else:
        message = Message(row["type"], task=task, head=head)
        expires_at = min(now + TIME_TO_CLAIM_MS, task.timeout)
    db.execute(
        """UPDATE tasks SET state = 'ENQUEUED', poll_group = ?, process_id = ?, expires_at = ?,
                            sent_on = ?
           WHERE id = ?""",
        (group, process_id, expires_at, now, task.id),
    )
    return Delivery(group, process_id, task.id, message)


def _park(db: sqlite3.Connection, row: sqlite3.Row, target: Address | None) -> None:
    group = None if target is None else target.group
    process_id = target.id if target is not None and target.cast == "uni" else None
    db.execute(
        """UPDATE tasks SET state = 'PARKED', expires_at = timeout, poll_group = ?, parked_id = ?
           WHERE id = ?""",
        (group, process_id, row["id"]),
    )
    _unblock(db, row["root_promise_id"])


def _ready(db: sqlite3.Connection, now: int) -> list[sqlite3.Row]:
    return db.execute(
        f"""SELECT *, (SELECT state FROM promises WHERE id = root_promise_id) AS root_state
            FROM tasks WHERE {OPEN} AND state = 'INIT' AND expires_at <= ?
            -- "+" hides the column from the planner, which would ignore the partial index
            -- in order to read the tasks in the order of sort_id.
            ORDER BY +sort_id LIMIT ?""",
        (now, MAX_SENT),
    ).fetchall()


def _is_another_out(db: sqlite3.Connection, root_id: str) -> bool:
    """Only one task of a root is out at a time, except for notifications, which are not claimed."""
    query = f"SELECT 1 FROM tasks WHERE root_promise_id = ? AND type <> 'notify' AND {OUT}"
    return db.execute(query, (root_id,)).fetchone() is not None


def is_any_ready(db: sqlite3.Connection, now: int) -> bool:
    """Tell whether any task is ready to be sent, has expired, or is parked.

    A process may have room for a parked task now. Most commits find none of these.
    """
    found = db.execute(
        f"""SELECT 1 FROM tasks
            WHERE {OPEN} AND state IN ('INIT', 'ENQUEUED', 'CLAIMED') AND expires_at <= ?
            UNION ALL SELECT 1 FROM tasks WHERE state = 'PARKED' LIMIT 1""",
        (now,),
    )
    return found.fetchone() is not None


def unclaimed(db: sqlite3.Connection) -> dict[tuple[str, str], int]:
    """Count the messages that each process of a group has not claimed yet."""
    rows = db.execute(
        f"""SELECT poll_group, process_id, COUNT(*) AS messages FROM tasks
            WHERE {OPEN} AND state = 'ENQUEUED' AND type <> 'notify'
            GROUP BY poll_group, process_id"""
    )
    return {(row["poll_group"], row["process_id"]): row["messages"] for row in rows}


def wake_notifications(db: sqlite3.Connection, group: str, process_id: str) -> None:
    """Make parked notifications ready again that a process can take, because it has connected.

    Args:
        db: the database.
        group: the poll group that it has joined.
        process_id: the process.
    """
    for parked_id in (None, process_id):
        db.execute(
            """UPDATE tasks SET state = 'INIT', expires_at = 0
               WHERE state = 'PARKED' AND poll_group = ? AND parked_id IS ?
                     AND type = 'notify'""",
            (group, parked_id),
        )


def wake(db: sqlite3.Connection, group: str, process_id: str, limit: int) -> None:
    """Make parked tasks ready again, oldest first, because a process can take more messages.

    Args:
        db: the database.
        group: a poll group of the process.
        process_id: the process.
        limit: how many tasks at most, for the group and for the process.
    """
    for parked_id in (None, process_id):
        _wake_parked(db, group, parked_id, limit)


def _wake_parked(
    db: sqlite3.Connection, group: str | None, parked_id: str | None, limit: int
) -> None:
    db.execute(
        """UPDATE tasks SET state = 'INIT', expires_at = 0
           WHERE sort_id IN (
               SELECT sort_id FROM tasks
               WHERE state = 'PARKED' AND poll_group = ? AND parked_id IS ?
                     AND type <> 'notify'
               ORDER BY sort_id LIMIT ?)""",
        (group, parked_id, limit),
    )


def time_out_waiting(db: sqlite3.Connection, now: int) -> None:
    """Time out the parked and the blocked tasks that are due."""
    for state in ("PARKED", "BLOCKED"):
        db.execute(
            f"""UPDATE tasks SET state = 'TIMEDOUT', completed_on = timeout
                WHERE {OPEN} AND state = '{state}' AND expires_at <= ?""",
            (now,),
        )


def finish(db: sqlite3.Connection, task_id: str, state: TaskState, completed_on: int) -> None:
    """End a task, and make the next task of its root ready."""
    (root_id,) = db.execute(
        """UPDATE tasks SET state = ?, process_id = NULL, completed_on = ? WHERE id = ?
           RETURNING root_promise_id""",
        (state, completed_on, task_id),
    ).fetchone()
    _unblock(db, root_id)


def complete_notified(db: sqlite3.Connection, task_ids: list[str], now: int) -> None:
    """Complete the tasks whose notifications were sent."""
    db.executemany(
        """UPDATE tasks SET state = 'COMPLETED', process_id = NULL, completed_on = ?
           WHERE id = ? AND state = 'ENQUEUED'""",
        [(now, task_id) for task_id in task_ids],
    )


def take_back_notifications(db: sqlite3.Connection, process_id: str | None) -> None:
    """Make incomplete notifications ready again: of one process, or of all if it is None."""
    db.execute(
        f"""UPDATE tasks
            SET state = 'INIT', process_id = NULL, counter = counter + 1, expires_at = 0
            WHERE {OPEN} AND state = 'ENQUEUED' AND type = 'notify'
                  AND process_id = COALESCE(?, process_id)""",
        (process_id,),
    )


def take_back_of_process(
    db: sqlite3.Connection, process_id: str, now: int, *, has_ended: bool
) -> list[Suspect]:
    """Make the tasks that a process has not claimed ready for other processes.

    Args:
        db: the database.
        process_id: the process.
        now: ms since the epoch.
        has_ended: whether to take back its claimed tasks too, because the process has ended.
            If it is still running, the new counters make the server refuse its late answers.

    Returns:
        The calls that must wait, because their processes keep ending.
    """
    which = OUT if has_ended else f"{OPEN} AND state = 'ENQUEUED'"
    taken = take_back(db, f"process_id = ? AND {which}", (process_id,), "disconnected", now)
    return [
        Suspect(row["root_promise_id"], row["deaths"], row["expires_at"] - now)
        for row in taken
        if row["expires_at"]
    ]


def take_back_expired(db: sqlite3.Connection, now: int) -> set[str]:
    """Make the tasks ready again whose lease, or time to be claimed, has expired.

    If their promise times out at the same time, they end with it; see `tasks.time_out_all_of_root`.

    Returns:
        The ids of the processes that had them.
    """
    expired = f"""{OUT} AND expires_at <= ? AND NOT EXISTS (
        SELECT 1 FROM promises
        WHERE promises.id = root_promise_id AND promises.state = 'PENDING' AND promises.timeout <= ?
    )"""
    rows = db.execute(f"SELECT process_id, type FROM tasks WHERE {expired}", (now, now)).fetchall()
    if rows:
        take_back(db, expired, (now, now), "expired", now)
    return {row["process_id"] for row in rows if row["type"] != "notify"}


def take_back(
    db: sqlite3.Connection, which: str, parameters: tuple[Any, ...], outcome: Outcome, now: int
) -> list[sqlite3.Row]:
    """Make tasks that are out ready again, and record the attempts that end here.

    Args:
        db: the database.
        which: the condition that selects the tasks, in SQL.
        parameters: the values of its parameters.
        outcome: why the attempts end.
        now: ms since the epoch.

    Returns:
        The root, the deaths and the time of the next try of each task; 0 means at once.
    """
    db.execute(
        f"""INSERT INTO attempts (task, root_promise_id, process_id, sent_on, claimed_on,
                                  ended_on, outcome)
            SELECT sort_id, root_promise_id, process_id, sent_on, claimed_on, ?, ?
            FROM tasks WHERE type <> 'notify' AND {which}""",
        (now, outcome, *parameters),
    )
    died = "state = 'CLAIMED'" if outcome == "disconnected" else "FALSE"
    pause = f"MIN({FIRST_PAUSE_MS} << MIN(deaths - 1, 10), {LONGEST_PAUSE_MS})"
    # The new counter invalidates the claim of the process that had the task.
    return db.execute(
        f"""UPDATE tasks
            SET state = 'INIT', process_id = NULL, counter = counter + 1,
                deaths = deaths + ({died}),
                expires_at = IIF({died} AND deaths >= 1, ? + {pause}, 0),
                sent_on = NULL, claimed_by = NULL, claimed_on = NULL
            WHERE {which} RETURNING root_promise_id, deaths, expires_at""",
        (now, *parameters),
    ).fetchall()


def move_leases(db: sqlite3.Connection, by: int) -> None:
    """Move the ends of leases and of times to claim by some ms, because the clock has jumped."""
    db.execute(
        f"""UPDATE tasks SET expires_at = MIN(expires_at + ?, timeout)
            WHERE {OUT} AND type <> 'notify'""",
        (by,),
    )


def recover(db: sqlite3.Connection, now: int) -> None:
    """Extend the leases and the times to claim after a restart, so that workers can reconnect."""
    take_back_notifications(db, None)
    db.execute(
        f"""UPDATE tasks SET expires_at = MIN(MAX(expires_at, ? + ttl), timeout)
            WHERE {OPEN} AND state = 'CLAIMED'""",
        (now,),
    )
    db.execute(
        f"UPDATE tasks SET expires_at = MIN(?, timeout) WHERE {OPEN} AND state = 'ENQUEUED'",
        (now + TIME_TO_CLAIM_MS,),
    )


def _unblock(db: sqlite3.Connection, root_id: str) -> None:
    """Make the oldest task ready that waited until no other task of its root was out."""
    db.execute(
        f"""UPDATE tasks SET state = 'INIT', expires_at = 0
            WHERE sort_id = (SELECT MIN(sort_id) FROM tasks
                             WHERE root_promise_id = ? AND {OPEN} AND state = 'BLOCKED')""",
        (root_id,),
    )
