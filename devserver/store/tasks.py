"""Tasks: who is to work on a promise, who does, and until when."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

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
    from devserver.models import ClaimTask, TaskClaimer, TaskRef

# How long a message may lie with its receiver before somebody else gets it. After a restart of
# the server too: the SDK tries a call again after 1 s, and its stream after 5 s.
TIME_TO_CLAIM_MS = 10_000
# A lease lasts at least as long as the real server takes to notice that one has run out, and
# at most so long that sums of times stay within SQLite's integers.
MIN_TTL_MS, MAX_TTL_MS = 1_000, 2**62
# The latest time that SQLite can hold.
MAX_TIME = 2**63 - 1

# In these words SQLite knows that the indices of `schema.sql` hold what is asked for.
OPEN = "state IN ('INIT', 'ENQUEUED', 'CLAIMED')"
OUT = f"{OPEN} AND state IN ('ENQUEUED', 'CLAIMED')"
# A new counter, so that whoever had the task cannot act on it any more.
TAKE_BACK = """UPDATE tasks
    SET state = 'INIT', process_id = NULL, counter = counter + 1, expires_at = 0"""


class Claim(NamedTuple):
    """What a claimed task is about: the root promise, and the one that was awaited."""

    type: MessageType
    root_id: str
    leaf_id: str
    root: Promise | None
    leaf: Promise | None


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """What goes to a receiver: a task to claim, or a promise that is complete."""

    type: MessageType
    task: Task | None = None
    promise: Promise | None = None
    head: dict[str, str] = {}


class Receiver(Protocol):
    """A connection, as far as the store has to know it."""

    @property
    def id(self) -> str:
        """The name that the connection gave itself; the SDK's process id."""


class Delivery[R](NamedTuple):
    """A message, who gets it, and the task that it is about."""

    receiver: R
    message: Message
    task_id: str


def create_invoke(
    db: sqlite3.Connection,
    promise: Promise,
    claimer: TaskClaimer | None,
    head: Mapping[str, str],
    now: int,
) -> Task | None:
    """Create the task that invokes a new promise's function, where it has one.

    Args:
        db: the database.
        promise: its tags say where the function is.
        claimer: who has the task from the start, or None where it is to be sent.
        head: the tracing headers that the message is to carry.
        now: ms since the epoch.
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
        delay = _delay(promise.tags)
        # Too late is one more than the timeout, which would mean that it waits for a receiver.
        expires_at = delay if delay < promise.timeout else min(promise.timeout + 1, MAX_TIME)
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
        ttl=ttl,
        expires_at=expires_at,
        timeout=promise.timeout,
        created_on=now,
    )
    return to_task(row)


def create_from_callbacks(db: sqlite3.Connection, promise_id: str, now: int) -> None:
    """Create a task for each one who waits for a promise: it is complete.

    Ids with colons in them can make two callbacks, of different promises, one and the same task.
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
    """Complete every open task of a promise: nothing is left to do for it."""
    db.execute(
        f"""UPDATE tasks SET state = 'COMPLETED', completed_on = ?
            WHERE root_promise_id = ? AND {OPEN}""",
        (now, promise_id),
    )


def claim(db: sqlite3.Connection, request: ClaimTask, now: int) -> Claim:
    """Take a task for as long as the lease lasts.

    Raises:
        ProtocolError: there is no such task, somebody has it, or it was sent again since.
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
               claimed_by = :process_id, claimed_before = claimed_by
           WHERE id = :id""",
        {
            "id": request.id,
            "process_id": request.process_id,
            "ttl": ttl,
            "expires_at": min(now + ttl, task["timeout"]),
        },
    )
    root_id, leaf_id = task["root_promise_id"], task["leaf_promise_id"]
    root = find_promise(db, root_id)
    leaf = find_promise(db, leaf_id) if task["type"] == "resume" else None
    return Claim(task["type"], root_id, leaf_id, root, leaf)


def complete(db: sqlite3.Connection, request: TaskRef, now: int) -> tuple[bool, Task]:
    """Give a task back: its function has finished, or waits for something else.

    Returns:
        Whether this request completed it, and the task.

    Raises:
        ProtocolError: there is no such task, or the caller's claim is not valid.
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


def drop(db: sqlite3.Connection, request: TaskRef) -> bool:
    """Give a claimed task back unfinished, so that it is sent again.

    Returns:
        Whether this request gave it back.

    Raises:
        ProtocolError: there is no such task, or the caller's claim is not valid.
    """
    task = find_task(db, request.id)
    if task["state"] != TaskState.CLAIMED:
        return False
    if task["counter"] != request.counter:
        raise ProtocolError(Code.TASK_COUNTER)
    db.execute(f"{TAKE_BACK} WHERE id = ?", (request.id,))
    return True


def check_fence(db: sqlite3.Connection, fence: TaskRef | None) -> None:
    """Make sure that a caller still has the task on whose behalf it acts.

    Raises:
        ProtocolError: the task is not claimed, or was claimed again since.
    """
    if fence is None:
        return
    claimed = db.execute(
        "SELECT 1 FROM tasks WHERE id = ? AND counter = ? AND state = 'CLAIMED'",
        (fence.id, fence.counter),
    ).fetchone()
    if claimed is None:
        raise ProtocolError(Code.TASK_PRECONDITION)


def heartbeat(db: sqlite3.Connection, process_id: str, now: int) -> int:
    """Renew the leases of a process.

    Returns:
        How many tasks it holds.
    """
    return db.execute(
        f"""UPDATE tasks SET expires_at = MIN(? + ttl, timeout)
            WHERE process_id = ? AND {OPEN} AND state = 'CLAIMED'""",
        (now, process_id),
    ).rowcount


def send_ready[R: Receiver](
    db: sqlite3.Connection, choose: Callable[[Address], R | None], now: int
) -> list[Delivery[R]]:
    """Give each task that may go out to a receiver: one task of a root at a time.

    Args:
        db: the database.
        choose: finds who listens at an address now.
        now: ms since the epoch.

    Returns:
        What is to be sent once this is committed.
    """
    ready = db.execute(
        f"""SELECT *, (SELECT state FROM promises WHERE id = root_promise_id) AS root_state
            FROM tasks AS task
            WHERE {OPEN} AND state = 'INIT' AND expires_at <= ? AND NOT EXISTS (
                SELECT 1 FROM tasks WHERE root_promise_id = task.root_promise_id AND {OUT})
            ORDER BY +sort_id  -- the plus: or SQLite walks through all tasks in that order""",
        (now,),
    ).fetchall()
    deliveries: list[Delivery[R]] = []
    roots: set[str] = set()
    for row in ready:
        task, message_type, head = to_task(row), row["type"], decode_strings(row["head"])
        if task.root_promise_id in roots:
            continue
        if now >= task.timeout:
            _finish(db, task.id, TaskState.TIMEDOUT, task.timeout)
        elif message_type != "notify" and row["root_state"] not in (None, PromiseState.PENDING):
            _finish(db, task.id, TaskState.COMPLETED, now)
        elif (receiver := _choose(choose, row["recv"])) is None:
            # Until somebody connects (`wake_parked`), or for good.
            db.execute("UPDATE tasks SET expires_at = timeout WHERE id = ?", (task.id,))
        else:
            db.execute(
                """UPDATE tasks SET state = 'ENQUEUED', process_id = ?, expires_at = ?
                   WHERE id = ?""",
                (receiver.id, min(now + TIME_TO_CLAIM_MS, task.timeout), task.id),
            )
            roots.add(task.root_promise_id)
            if message_type == "notify":
                root = find_promise(db, task.root_promise_id)
                message = Message("notify", promise=root, head=head)
            else:
                message = Message(message_type, task=task, head=head)
            deliveries.append(Delivery(receiver, message, task.id))
    return deliveries


def complete_notified(db: sqlite3.Connection, task_ids: list[str], now: int) -> None:
    """Finish the tasks whose notifications have been sent."""
    db.executemany(
        """UPDATE tasks SET state = 'COMPLETED', process_id = NULL, completed_on = ?
           WHERE id = ? AND state = 'ENQUEUED'""",
        [(now, task_id) for task_id in task_ids],
    )


def wake_parked(db: sqlite3.Connection, now: int) -> None:
    """Try the tasks again that had no receiver: somebody has connected."""
    db.execute(
        f"""UPDATE tasks SET expires_at = 0
            WHERE {OPEN} AND state = 'INIT' AND expires_at > ? AND expires_at = timeout""",
        (now,),
    )


def take_back_of_process(db: sqlite3.Connection, process_id: str, *, also_claimed: bool) -> None:
    """Let others have the tasks that were sent to a process.

    Args:
        db: the database.
        process_id: the process.
        also_claimed: those that it has claimed too, because it runs no more. (Should it run
            after all, the new counters keep its late answers out.)
    """
    which = OUT if also_claimed else f"{OPEN} AND state = 'ENQUEUED'"
    db.execute(f"{TAKE_BACK} WHERE process_id = ? AND {which}", (process_id,))


def take_back_expired(db: sqlite3.Connection, now: int) -> set[str]:
    """Let others have the tasks whose lease, or time to be claimed, has run out.

    Returns:
        The processes that had them.
    """
    expired = f"{OUT} AND expires_at <= ?"
    rows = db.execute(f"SELECT process_id FROM tasks WHERE {expired}", (now,)).fetchall()
    if rows:
        db.execute(f"{TAKE_BACK} WHERE {expired}", (now,))
    return {process_id for (process_id,) in rows}


def recover(db: sqlite3.Connection, now: int) -> None:
    """Give those who were at work when the server stopped the time to come back."""
    db.execute(
        f"""UPDATE tasks SET expires_at = MIN(MAX(expires_at, ? + ttl), timeout)
            WHERE {OPEN} AND state = 'CLAIMED'""",
        (now,),
    )
    db.execute(
        f"UPDATE tasks SET expires_at = MIN(?, timeout) WHERE {OPEN} AND state = 'ENQUEUED'",
        (now + TIME_TO_CLAIM_MS,),
    )


def _finish(db: sqlite3.Connection, task_id: str, state: TaskState, completed_on: int) -> None:
    db.execute(
        "UPDATE tasks SET state = ?, process_id = NULL, completed_on = ? WHERE id = ?",
        (state, completed_on, task_id),
    )


def _clamp(ttl: int) -> int:
    return min(max(ttl, MIN_TTL_MS), MAX_TTL_MS)


def _choose[R](choose: Callable[[Address], R | None], recv: str) -> R | None:
    target = address.parse(recv)
    return None if target is None else choose(target)


def _delay(tags: dict[str, str]) -> int:
    """Read the tag that holds a promise's first message back until a time."""
    try:
        return max(int(tags.get("resonate:delay", "0")), 0)
    except ValueError:
        return 0
