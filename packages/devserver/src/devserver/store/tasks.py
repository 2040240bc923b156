"""Tasks: what processes and promises ask of them. `dispatch` decides where they are sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from devserver.store import address
from devserver.store.dispatch import OPEN, TIME_TO_CLAIM_MS, finish, take_back
from devserver.store.errors import Code, ProtocolError
from devserver.store.models import Promise, Task, TaskState
from devserver.store.rows import (
    MessageType,
    encode_strings,
    find_promise,
    find_task,
    insert,
    to_task,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from devserver.store.models import ClaimTask, TaskClaimer, TaskRef

# A lease lasts at least as long as the real server takes to notice that a lease has expired. The
# upper limit keeps sums of times within SQLite's integers.
MIN_TTL_MS, MAX_TTL_MS = 1_000, 2**62
# The latest time that SQLite can store.
MAX_TIME = 2**63 - 1


class Claim(NamedTuple):
    """The promises of a claimed task: the root, and the leaf that the root waited for."""

    type: MessageType
    root_id: str
    leaf_id: str
    root: Promise | None
    leaf: Promise | None


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


def created_for(
    db: sqlite3.Connection, promise: Promise, claimer: TaskClaimer | None
) -> Task | None:
    """Find the task that was created for a process with a promise, and that it still has.

    If the first answer was lost, the SDK repeats the request. It would never run the function if
    it did not get the task, but it would renew the lease together with the others of its process.
    """
    if claimer is None:
        return None
    row = db.execute(
        """SELECT * FROM tasks
           WHERE id = ? AND process_id = ? AND state = 'CLAIMED' AND sent_on IS NULL""",
        (f"__invoke:{promise.id}", claimer.process_id),
    ).fetchone()
    return None if row is None else to_task(row)


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
    _end_all_of_root(db, promise_id, "state = 'COMPLETED', completed_on = ?", now)


def time_out_all_of_root(db: sqlite3.Connection, promise: Promise) -> None:
    """Time out every open task of a promise that has timed out, and take it from its process."""
    # A process that was sent the task, and has not claimed it yet, may still do so; see `claim`.
    keep = "process_id = IIF(state = 'ENQUEUED', process_id, NULL)"
    change = f"state = 'TIMEDOUT', {keep}, completed_on = ?"
    _end_all_of_root(db, promise.id, change, promise.timeout)


def _end_all_of_root(db: sqlite3.Connection, promise_id: str, change: str, time: int) -> None:
    db.execute(
        f"UPDATE tasks SET {change} WHERE root_promise_id = ? AND {OPEN}", (time, promise_id)
    )


def claim(db: sqlite3.Connection, request: ClaimTask, now: int) -> Claim:
    """Claim a task for the length of a lease.

    The SDK repeats a claim if the answer was lost, and exits if a claim is refused. So the same
    claim gets the same answer again. And if a promise was completed while the message about its
    function was on its way, the process that gets the message may still claim it: the SDK sees that
    the promise is complete, and does not run the function.

    Raises:
        ProtocolError: the task does not exist, is claimed or completed, or the counter is stale.
    """
    task = find_task(db, request.id)
    is_same = (task["process_id"], task["counter"]) == (request.process_id, request.counter)
    match task["state"]:
        case TaskState.CLAIMED if not is_same:
            raise ProtocolError(Code.TASK_CLAIMED)
        case TaskState.COMPLETED | TaskState.TIMEDOUT:
            if task["type"] != "invoke" or task["claimed_by"] or not is_same:
                raise ProtocolError(Code.TASK_COMPLETED)
        case _:
            if task["counter"] != request.counter:
                raise ProtocolError(Code.TASK_COUNTER)
            _claim(db, task, request, now)
    root_id, leaf_id = task["root_promise_id"], task["leaf_promise_id"]
    root = find_promise(db, root_id)
    leaf = find_promise(db, leaf_id) if task["type"] == "resume" else None
    return Claim(task["type"], root_id, leaf_id, root, leaf)


def _claim(db: sqlite3.Connection, task: sqlite3.Row, request: ClaimTask, now: int) -> None:
    ttl = _clamp(request.ttl)
    db.execute(
        """UPDATE tasks
           SET state = 'CLAIMED', process_id = :process_id, ttl = :ttl, expires_at = :expires_at,
               claimed_by = :process_id, claimed_on = COALESCE(claimed_on, :now)
           WHERE id = :id""",
        {
            "id": request.id,
            "process_id": request.process_id,
            "now": now,
            "ttl": ttl,
            "expires_at": min(now + ttl, task["timeout"]),
        },
    )
    # The process works through its messages one after another, so it may claim the others later.
    db.execute(
        f"""UPDATE tasks SET expires_at = MIN(?, timeout)
            WHERE process_id = ? AND type <> 'notify' AND {OPEN} AND state = 'ENQUEUED'""",
        (now + TIME_TO_CLAIM_MS, request.process_id),
    )


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
    finish(db, request.id, TaskState.COMPLETED, now)
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
    take_back(db, "id = ?", (request.id,), "dropped", now)
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
        raise ProtocolError(Code.TASK_PRECONDITION, detail)


def heartbeat(db: sqlite3.Connection, process_id: str, now: int) -> int:
    """Renew all leases of a process.

    A call that has run for a quarter of its lease has not ended this process at once, so its
    earlier deaths no longer count.

    Returns:
        How many tasks the process has claimed.
    """
    return db.execute(
        f"""UPDATE tasks SET expires_at = MIN(:now + ttl, timeout),
                             deaths = IIF(claimed_on + ttl / 4 < :now, 0, deaths)
            WHERE process_id = :process_id AND {OPEN} AND state = 'CLAIMED'""",
        {"now": now, "process_id": process_id},
    ).rowcount


def _clamp(ttl: int) -> int:
    return min(max(ttl, MIN_TTL_MS), MAX_TTL_MS)


def _delay(tags: dict[str, str]) -> int:
    """Read the tag that delays a promise's first message. Returns a time in ms since the epoch."""
    try:
        return min(max(int(tags.get("resonate:delay", "0")), 0), MAX_TIME)
    except ValueError:
        return 0
