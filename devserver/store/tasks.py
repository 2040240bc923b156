"""Tasks: which process should run a promise's function, which one is running it, and until when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec
from msgspec.structs import replace

from devserver import address
from devserver.errors import Code, ProtocolError
from devserver.models import Promise, PromiseState, Task, TaskState
from devserver.store.rows import (
    MessageType,
    decode_strings,
    encode_strings,
    find_promise,
    find_task,
    insert,
    to_task,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping

    from devserver.address import Address
    from devserver.connections import Connection
    from devserver.models import ClaimTask, TaskClaimer, TaskRef

# How long a process may take to claim a task that it was sent. After a restart of the server, it
# gets the same time: the SDK repeats a call after 1 s and reconnects its stream after 5 s.
TIME_TO_CLAIM_MS = 10_000
# A lease lasts at least as long as the real server takes to notice that a lease has expired. The
# upper limit keeps sums of times within SQLite's integers.
MIN_TTL_MS, MAX_TTL_MS = 1_000, 2**62
# The approximate size of a message, without the data of the promise in a notification (bytes).
MESSAGE_SIZE = 2**10
# How many parked tasks one transaction makes ready. More would make other requests wait too long.
MAX_WOKEN = 1_000
# The latest time that SQLite can store.
MAX_TIME = 2**63 - 1

# SQLite uses the partial indices of `schema.sql` only if a query repeats their condition.
OPEN = "state IN ('INIT', 'PARKED', 'ENQUEUED', 'CLAIMED')"
OUT = f"{OPEN} AND state IN ('ENQUEUED', 'CLAIMED')"

type Outcome = Literal["disconnected", "expired", "dropped"]


class Claim(NamedTuple):
    """The promises of a claimed task: the root, and the leaf that the root waited for."""

    type: MessageType
    root_id: str
    leaf_id: str
    root: Promise | None
    leaf: Promise | None


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message to a connection: a task to claim, or a completed promise."""

    type: MessageType
    task: Task | None = None
    promise: Promise | None = None
    head: dict[str, str] = {}


class Delivery(NamedTuple):
    """A message, the connection that gets it, the id of its task, and its size in bytes."""

    connection: Connection
    message: Message
    task_id: str
    size: int


def create_invoke(
    db: sqlite3.Connection,
    promise: Promise,
    claimer: TaskClaimer | None,
    head: Mapping[str, str],
    now: int,
) -> Task | None:
    """Create the task that invokes a new promise's function.

    Args:
        db: the database.
        promise: its tags say where the function is.
        claimer: the process that claims the task as it is created. None to send the task.
        head: the tracing headers for the message.
        now: ms since the epoch.

    Returns:
        The task, or None if the promise's tags do not name a function.
    """
    recv = address.invoke_receiver(promise.tags)
    if recv is None:
        return None
    if claimer is not None:
        ttl = _clamp(claimer.ttl)
        state, process_id = TaskState.CLAIMED, claimer.process_id
        expires_at = min(now + ttl, promise.timeout)
    else:
        ttl = 0
        state, process_id = TaskState.INIT, None
        expires_at = _delay(promise.tags)
    row = insert(
        db,
        "tasks",
        id=f"__invoke:{promise.id}",
        state=state,
        type="invoke",
        root_promise_id=promise.id,
        leaf_promise_id=promise.id,
        head=encode_strings(head),
        recv=recv,
        process_id=process_id,
        claimed_by=process_id,
        claimed_on=None if claimer is None else now,
        ttl=ttl,
        expires_at=expires_at,
        timeout=promise.timeout,
        created_on=now,
    )
    return to_task(row)


def create_from_callbacks(db: sqlite3.Connection, promise_id: str, now: int) -> None:
    """Create a task for each callback and each subscription of a completed promise.

    If ids contain colons, callbacks of different promises can have the same task id. Then they
    share one task.
    """
    db.execute(
        """INSERT INTO tasks (id, state, type, root_promise_id, leaf_promise_id, head, recv,
                              timeout, created_on)
           SELECT id, 'INIT', type, root_promise_id, promise_id, head, recv, timeout, ?
           FROM callbacks WHERE promise_id = ? ORDER BY id
           ON CONFLICT (id) DO NOTHING""",
        (now, promise_id),
    )


def complete_all_of_root(db: sqlite3.Connection, promise_id: str, now: int) -> None:
    """Complete every open task of a promise that is complete."""
    db.execute(
        f"""UPDATE tasks SET state = 'COMPLETED', completed_on = ?
            WHERE root_promise_id = ? AND {OPEN}""",
        (now, promise_id),
    )


def time_out_all_of_root(db: sqlite3.Connection, promise: Promise) -> None:
    """Time out every open task of a promise that has timed out, and take it from its process."""
    db.execute(
        f"""UPDATE tasks SET state = 'TIMEDOUT', process_id = NULL, completed_on = ?
            WHERE root_promise_id = ? AND {OPEN}""",
        (promise.timeout, promise.id),
    )


def claim(db: sqlite3.Connection, request: ClaimTask, now: int) -> Claim:
    """Claim a task for the length of a lease.

    Raises:
        ProtocolError: the task does not exist, is claimed or completed, or the counter is stale.
    """
    task = find_task(db, request.id)
    if task["state"] == TaskState.CLAIMED:
        raise ProtocolError(Code.TASK_CLAIMED)
    if task["state"] in (TaskState.COMPLETED, TaskState.TIMEDOUT):
        raise ProtocolError(Code.TASK_COMPLETED)
    if task["counter"] != request.counter:
        raise ProtocolError(Code.TASK_COUNTER)
    ttl = _clamp(request.ttl)
    db.execute(
        """UPDATE tasks
           SET state = 'CLAIMED', process_id = :process_id, ttl = :ttl, expires_at = :expires_at,
               claimed_by = :process_id, claimed_on = :now
           WHERE id = :id""",
        {
            "id": request.id,
            "process_id": request.process_id,
            "now": now,
            "ttl": ttl,
            "expires_at": min(now + ttl, task["timeout"]),
        },
    )
    root_id, leaf_id = task["root_promise_id"], task["leaf_promise_id"]
    root = find_promise(db, root_id)
    leaf = find_promise(db, leaf_id) if task["type"] == "resume" else None
    return Claim(task["type"], root_id, leaf_id, root, leaf)


def complete(db: sqlite3.Connection, request: TaskRef, now: int) -> tuple[bool, Task]:
    """Complete a claimed task: its function has finished, or waits for another promise.

    Returns:
        Whether this request completed it, and the task.

    Raises:
        ProtocolError: the task does not exist or is not claimed, or the counter is stale.
    """
    row = find_task(db, request.id)
    if row["state"] in (TaskState.COMPLETED, TaskState.TIMEDOUT):
        return False, to_task(row)
    if row["state"] != TaskState.CLAIMED:
        raise ProtocolError(Code.TASK_STATE)
    if row["counter"] != request.counter:
        raise ProtocolError(Code.TASK_COUNTER)
    _finish(db, request.id, TaskState.COMPLETED, now)
    return True, replace(to_task(row), process_id=None, completed_on=now)


def drop(db: sqlite3.Connection, request: TaskRef, now: int) -> bool:
    """Return a claimed task unfinished, so that the server sends it again.

    Returns:
        Whether this request returned it.

    Raises:
        ProtocolError: the task does not exist, or the counter is stale.
    """
    task = find_task(db, request.id)
    if task["state"] != TaskState.CLAIMED:
        return False
    if task["counter"] != request.counter:
        raise ProtocolError(Code.TASK_COUNTER)
    _take_back(db, "id = ?", (request.id,), "dropped", now)
    return True


def check_fence(db: sqlite3.Connection, fence: TaskRef | None) -> None:
    """Check that the caller still has the task that its request belongs to.

    Raises:
        ProtocolError: the task is not claimed, or the counter is stale.
    """
    if fence is None:
        return
    claimed = db.execute(
        "SELECT 1 FROM tasks WHERE id = ? AND counter = ? AND state = 'CLAIMED'",
        (fence.id, fence.counter),
    ).fetchone()
    if claimed is None:
        detail = "the specified task is not valid"
        raise ProtocolError(Code.TASK_PRECONDITION, detail, domain="server")


def heartbeat(db: sqlite3.Connection, process_id: str, now: int) -> int:
    """Renew all leases of a process.

    Returns:
        How many tasks the process has claimed.
    """
    return db.execute(
        f"""UPDATE tasks SET expires_at = MIN(? + ttl, timeout)
            WHERE process_id = ? AND {OPEN} AND state = 'CLAIMED'""",
        (now, process_id),
    ).rowcount


def send_ready(
    db: sqlite3.Connection, choose: Callable[[Address, int], Connection | None], now: int
) -> list[Delivery]:
    """Choose a connection for each task that is ready to be sent.

    Only one task of a root is out at a time, except for notifications, because processes do not
    claim them. A task is parked while another task of its root is out, or if no connection can
    take it.

    Args:
        db: the database.
        choose: returns a connection for an address and a size, or None; see `Connections`.
        now: ms since the epoch.

    Returns:
        What to send after the commit.
    """
    deliveries: list[Delivery] = []
    roots: set[str] = set()
    # Parking a task can make another task of its root ready.
    while rows := _ready(db, now):
        for row in rows:
            task, is_notification = to_task(row), row["type"] == "notify"
            root_id = task.root_promise_id
            size = MESSAGE_SIZE + ((row["root_size"] or 0) if is_notification else 0)
            if now >= task.timeout:
                _finish(db, task.id, TaskState.TIMEDOUT, task.timeout)
            elif not is_notification and row["root_state"] not in (None, PromiseState.PENDING):
                _finish(db, task.id, TaskState.COMPLETED, now)
            elif not is_notification and (row["is_blocked"] or root_id in roots):
                _park(db, task.id, _turn(root_id))
            elif (connection := _choose(choose, row["recv"], size)) is None:
                _park(db, task.id, _place(address.parse(row["recv"])))
                _wake(db, _turn(root_id), 1)
            else:
                head = decode_strings(row["head"])
                if is_notification:
                    message = Message("notify", promise=find_promise(db, root_id), head=head)
                    expires_at = task.timeout  # processes do not claim it
                else:
                    roots.add(root_id)
                    message = Message(row["type"], task=task, head=head)
                    expires_at = min(now + TIME_TO_CLAIM_MS, task.timeout)
                db.execute(
                    """UPDATE tasks
                       SET state = 'ENQUEUED', process_id = ?, expires_at = ?, sent_on = ?
                       WHERE id = ?""",
                    (connection.id, expires_at, now, task.id),
                )
                deliveries.append(Delivery(connection, message, task.id, size))
    return deliveries


def _ready(db: sqlite3.Connection, now: int) -> list[sqlite3.Row]:
    return db.execute(
        f"""SELECT *, (SELECT state FROM promises WHERE id = root_promise_id) AS root_state,
                   (SELECT length(param_data) + length(value_data) FROM promises
                    WHERE id = root_promise_id) AS root_size,
                   EXISTS (SELECT 1 FROM tasks WHERE root_promise_id = task.root_promise_id
                           AND type <> 'notify' AND {OUT}) AS is_blocked
            FROM tasks AS task
            WHERE {OPEN} AND state = 'INIT' AND expires_at <= ?
            -- "+" hides the column from the planner, which would ignore the partial index
            -- in order to read the tasks in the order of sort_id.
            ORDER BY +sort_id""",
        (now,),
    ).fetchall()


def complete_notified(db: sqlite3.Connection, task_ids: list[str], now: int) -> None:
    """Complete the tasks whose notifications were sent."""
    db.executemany(
        """UPDATE tasks SET state = 'COMPLETED', process_id = NULL, completed_on = ?
           WHERE id = ? AND state = 'ENQUEUED'""",
        [(now, task_id) for task_id in task_ids],
    )


def wake_parked(db: sqlite3.Connection, target: Address) -> bool:
    """Make the tasks ready again that are parked for an address.

    Returns:
        Whether more tasks are parked than one transaction wakes.
    """
    return _wake(db, _place(target), MAX_WOKEN) == MAX_WOKEN


def time_out_parked(db: sqlite3.Connection, now: int) -> None:
    """Time out the parked tasks that are due."""
    db.execute(
        f"""UPDATE tasks SET state = 'TIMEDOUT', completed_on = timeout
            WHERE {OPEN} AND state = 'PARKED' AND expires_at <= ?""",
        (now,),
    )


def take_back_of_process(
    db: sqlite3.Connection, process_id: str, now: int, *, also_claimed: bool
) -> None:
    """Make the tasks that were sent to a process ready for other processes.

    Args:
        db: the database.
        process_id: the process.
        now: ms since the epoch.
        also_claimed: whether to take back its claimed tasks too, because the process has ended.
            If it is still running, the new counters make the server refuse its late answers.
    """
    which = OUT if also_claimed else f"{OPEN} AND state = 'ENQUEUED'"
    _take_back(db, f"process_id = ? AND {which}", (process_id,), "disconnected", now)


def take_back_expired(db: sqlite3.Connection, now: int) -> set[str]:
    """Make the tasks ready again whose lease, or time to be claimed, has expired.

    Returns:
        The ids of the processes that had them.
    """
    expired = f"{OUT} AND expires_at <= ?"
    rows = db.execute(f"SELECT process_id FROM tasks WHERE {expired}", (now,)).fetchall()
    if rows:
        _take_back(db, expired, (now,), "expired", now)
    return {row["process_id"] for row in rows}


def move_leases(db: sqlite3.Connection, jump: int) -> None:
    """Keep the length of leases and times to claim when the clock is set.

    Args:
        db: the database.
        jump: how far the clock was set forward (ms). Negative if it was set back.
    """
    db.execute(
        f"""UPDATE tasks SET expires_at = MIN(expires_at + ?, timeout)
            WHERE {OUT} AND type <> 'notify'""",
        (jump,),
    )


def recover(db: sqlite3.Connection, now: int) -> None:
    """Extend the leases and the times to claim after a restart, so that workers can reconnect."""
    db.execute(
        f"""UPDATE tasks SET expires_at = MIN(MAX(expires_at, ? + ttl), timeout)
            WHERE {OPEN} AND state = 'CLAIMED'""",
        (now,),
    )
    db.execute(
        f"UPDATE tasks SET expires_at = MIN(?, timeout) WHERE {OPEN} AND state = 'ENQUEUED'",
        (now + TIME_TO_CLAIM_MS,),
    )


def _take_back(
    db: sqlite3.Connection, which: str, parameters: tuple[Any, ...], outcome: Outcome, now: int
) -> None:
    """Make tasks ready again, and record the attempts that end here."""
    db.execute(
        f"""INSERT INTO attempts (task, root_promise_id, process_id, sent_on, claimed_on,
                                  ended_on, outcome)
            SELECT sort_id, root_promise_id, process_id, sent_on, claimed_on, ?, ?
            FROM tasks WHERE type <> 'notify' AND {which}""",
        (now, outcome, *parameters),
    )
    # The new counter invalidates the claim of the process that had the task.
    db.execute(
        f"""UPDATE tasks
            SET state = 'INIT', process_id = NULL, counter = counter + 1, expires_at = 0,
                sent_on = NULL, claimed_by = NULL, claimed_on = NULL
            WHERE {which}""",
        parameters,
    )


def _finish(db: sqlite3.Connection, task_id: str, state: TaskState, completed_on: int) -> None:
    (root_id,) = db.execute(
        """UPDATE tasks SET state = ?, process_id = NULL, completed_on = ? WHERE id = ?
           RETURNING root_promise_id""",
        (state, completed_on, task_id),
    ).fetchone()
    _wake(db, _turn(root_id), 1)


def _park(db: sqlite3.Connection, task_id: str, waits_for: str | None) -> None:
    db.execute(
        "UPDATE tasks SET state = 'PARKED', expires_at = timeout, waits_for = ? WHERE id = ?",
        (waits_for, task_id),
    )


def _wake(db: sqlite3.Connection, waits_for: str | None, limit: int) -> int:
    """Make parked tasks ready again, oldest first. Returns how many."""
    return db.execute(
        """UPDATE tasks SET state = 'INIT', expires_at = 0, waits_for = NULL
           WHERE sort_id IN (SELECT sort_id FROM tasks
                             WHERE state = 'PARKED' AND waits_for = ? ORDER BY sort_id LIMIT ?)""",
        (waits_for, limit),
    ).rowcount


def _turn(root_id: str) -> str:
    """Return the name under which a task waits while another task of its root is out."""
    return f"turn@{root_id}"


def _clamp(ttl: int) -> int:
    return min(max(ttl, MIN_TTL_MS), MAX_TTL_MS)


def _choose(
    choose: Callable[[Address, int], Connection | None], recv: str, size: int
) -> Connection | None:
    target = address.parse(recv)
    return None if target is None else choose(target, size)


def _place(target: Address | None) -> str | None:
    """Return the name of the connections that can take a message: one, or all of a group."""
    if target is None:
        return None
    if target.cast == "any":
        return f"any@{target.group}"
    return f"uni@{target.group}/{target.id}"


def _delay(tags: dict[str, str]) -> int:
    """Read the tag that delays a promise's first message. Returns a time in ms since the epoch."""
    try:
        return min(max(int(tags.get("resonate:delay", "0")), 0), MAX_TIME)
    except ValueError:
        return 0
