"""Promises, their callbacks and their subscriptions."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from msgspec import structs
from msgspec.json import Encoder

from devserver.store import tasks
from devserver.store.errors import Code, ProtocolError
from devserver.store.models import Callback, Promise, PromiseState
from devserver.store.rows import (
    SEARCH,
    encode_strings,
    find_promise,
    insert,
    search_parameters,
    to_promise,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from devserver.store.models import (
        CompletePromise,
        CreateCallback,
        CreatePromise,
        CreatePromiseAndTask,
        CreateSubscription,
        Search,
        Task,
        TaskClaimer,
        TaskRef,
    )
    from devserver.store.rows import MessageType

ALREADY = {
    PromiseState.RESOLVED: Code.PROMISE_RESOLVED,
    PromiseState.REJECTED: Code.PROMISE_REJECTED,
    PromiseState.CANCELED: Code.PROMISE_CANCELED,
    PromiseState.TIMEDOUT: Code.PROMISE_TIMEDOUT,
}

# A search stops at this size (bytes). The cursor leads to the rest.
MAX_FOUND = 4 * 2**20
# How many promises one transaction times out. More would let other requests wait.
MAX_TIMED_OUT = 250

# How many uses of stored results are kept, for the page.
MAX_USES = 2_000

_encode = Encoder().encode


class Caller(NamedTuple):
    """The headers of a request.

    Args:
        idempotency_key: a request with the key of an earlier one is a repetition of it.
        strict: whether a repetition succeeds only if the promise is in the requested state.
        fence: the request is valid only while this task is claimed with this counter.
        head: the tracing headers, for the resulting message.
    """

    idempotency_key: str | None = None
    strict: bool = False
    fence: TaskRef | None = None
    head: Mapping[str, str] = MappingProxyType({})

    def repeats(self, key: str | None) -> bool:
        """Tell whether this request repeats an earlier one that had the given key."""
        return self.idempotency_key is not None and self.idempotency_key == key


def get(db: sqlite3.Connection, promise_id: str, now: int) -> Promise:
    """Read a promise. If its timeout has passed, time it out first.

    Raises:
        ProtocolError: no promise has that id.
    """
    return _time_out_if_due(db, _find(db, promise_id), now)


def exists(db: sqlite3.Connection, promise_id: str) -> bool:
    """Tell whether a promise has that id."""
    return find_promise(db, promise_id) is not None


def create(
    db: sqlite3.Connection, request: CreatePromise, caller: Caller, now: int
) -> tuple[bool, Promise]:
    """Create a promise, and the task that invokes its function if its tags name one.

    Returns:
        Whether this request created it, and the promise.

    Raises:
        ProtocolError: another promise has that id, or the fence is not valid.
    """
    tasks.check_fence(db, caller.fence)
    created, promise, _ = _create(db, request, caller, None, now)
    return created, promise


def create_with_task(
    db: sqlite3.Connection, request: CreatePromiseAndTask, caller: Caller, now: int
) -> tuple[bool, Promise, Task | None]:
    """Create a promise, and claim its task for the caller.

    Returns:
        Whether this request created the promise, the promise, and the task if this request or the
        one that it repeats created it.

    Raises:
        ProtocolError: another promise has that id.
    """
    return _create(db, request.promise, caller, request.task, now)


def complete(
    db: sqlite3.Connection, promise_id: str, request: CompletePromise, caller: Caller, now: int
) -> tuple[bool, Promise]:
    """Resolve, reject or cancel a promise, and turn its callbacks into tasks.

    Returns:
        Whether this request completed it, and the promise.

    Raises:
        ProtocolError: no promise has that id, it was completed by another request, or the fence
            is not valid.
    """
    tasks.check_fence(db, caller.fence)
    state = PromiseState(request.completed_state)
    found = _find(db, promise_id)
    if found.state == PromiseState.PENDING and now < found.timeout:
        settled = structs.replace(
            found,
            state=state,
            value=request.value,
            idempotency_key_for_complete=caller.idempotency_key,
            completed_on=now,
        )
        _settle(db, settled, now)
        return True, settled

    found = _time_out_if_due(db, found, now)
    if caller.strict:
        same = found.state == state and caller.repeats(found.idempotency_key_for_complete)
    else:
        same = found.state == PromiseState.TIMEDOUT or caller.repeats(
            found.idempotency_key_for_complete
        )
    if not same:
        raise ProtocolError(ALREADY[found.state])
    return False, found


def create_callback(
    db: sqlite3.Connection, promise_id: str, request: CreateCallback, caller: Caller, now: int
) -> tuple[Callback | None, Promise]:
    """Register the function of another promise to be resumed when this promise is complete.

    Returns:
        The callback, and the promise. The callback is None if it existed already, or if the
        promise is complete.

    Raises:
        ProtocolError: no promise has that id, the promise would wait for itself, or the fence is
            not valid.
    """
    root = request.root_promise_id
    if root == promise_id:
        detail = "promise and root promise must be different"
        raise ProtocolError(Code.INVALID, detail)
    tasks.check_fence(db, caller.fence)
    callback = Callback(f"__resume:{root}:{promise_id}", promise_id, root, request.timeout, now)
    return _create_callback(db, callback, "resume", bytes(request.recv), caller)


def create_subscription(
    db: sqlite3.Connection, promise_id: str, request: CreateSubscription, caller: Caller, now: int
) -> tuple[Callback | None, Promise]:
    """Register an address to be notified when a promise is complete.

    Returns:
        The subscription, and the promise. The subscription is None if it existed already, or if
        the promise is complete.

    Raises:
        ProtocolError: no promise has that id.
    """
    callback = Callback(
        f"__notify:{promise_id}:{request.id}", promise_id, promise_id, request.timeout, now
    )
    return _create_callback(db, callback, "notify", bytes(request.recv), caller)


def search(
    db: sqlite3.Connection, query: Search, now: int
) -> tuple[list[tuple[int, Promise]], bool]:
    """Find promises, newest first.

    Returns:
        Up to `query.limit` promises, each with its `sort_id`; and whether the search stopped
        earlier, because the answer reached its largest size.
    """
    time_out(db, now)
    found: list[tuple[int, Promise]] = []
    size = 0
    for row in db.execute(
        f"""SELECT * FROM promises
            WHERE {SEARCH} AND state IN (SELECT value FROM json_each(:states))
            ORDER BY sort_id DESC LIMIT :limit""",
        search_parameters(query) | {"states": _encode(query.states)},
    ):
        if size >= MAX_FOUND:
            return found, True
        found.append((row["sort_id"], to_promise(row)))
        size += sum(len(field) for field in row if isinstance(field, str | bytes))
    return found, False


def time_out(db: sqlite3.Connection, now: int) -> None:
    """Time out pending promises whose timeout has passed, at most `MAX_TIMED_OUT` of them."""
    due = db.execute(
        "SELECT * FROM promises WHERE state = 'PENDING' AND timeout <= ? ORDER BY timeout LIMIT ?",
        (now, MAX_TIMED_OUT),
    ).fetchall()
    for row in due:
        _time_out_if_due(db, to_promise(row), now)


def _find(db: sqlite3.Connection, promise_id: str) -> Promise:
    promise = find_promise(db, promise_id)
    if promise is None:
        raise ProtocolError(Code.PROMISE_NOT_FOUND)
    return promise


def _create(
    db: sqlite3.Connection,
    request: CreatePromise,
    caller: Caller,
    claimer: TaskClaimer | None,
    now: int,
) -> tuple[bool, Promise, Task | None]:
    found = find_promise(db, request.id)
    if found is not None:
        found = _time_out_if_due(db, found, now)
        same = caller.repeats(found.idempotency_key_for_create)
        if same and (not caller.strict or found.state == PromiseState.PENDING):
            _record_use(db, found, request, now)
            return False, found, tasks.created_for(db, found, claimer)
        raise ProtocolError(Code.PROMISE_EXISTS)

    row = insert(
        db,
        "promises",
        id=request.id,
        state=PromiseState.PENDING,
        timeout=request.timeout,
        param_headers=encode_strings(request.param.headers),
        param_data=request.param.data,
        idempotency_key_for_create=caller.idempotency_key,
        tags=encode_strings(request.tags),
        created_on=now,
    )
    promise = to_promise(row)
    return True, promise, tasks.create_invoke(db, promise, claimer, caller.head, now)


def _record_use(db: sqlite3.Connection, found: Promise, request: CreatePromise, now: int) -> None:
    """Record, for the page, that a call got a stored result.

    A function that runs again from the top repeats its calls. That is not recorded.
    """
    if found.state == PromiseState.PENDING or "resonate:timeout" in found.tags:
        return
    parent = request.tags.get("resonate:parent", found.id)
    caller_id = None if parent == found.id else parent
    if caller_id is not None and _is_repeated(db, found, caller_id, request.tags):
        return
    insert(db, "uses", promise_id=found.id, caller_id=caller_id, created_on=now)
    db.execute("DELETE FROM uses WHERE sort_id <= (SELECT MAX(sort_id) FROM uses) - ?", (MAX_USES,))


def _is_repeated(
    db: sqlite3.Connection, called: Promise, caller_id: str, tags: Mapping[str, str]
) -> bool:
    """Tell whether a function has made a call before: created it, waited for it or used it."""
    if called.tags.get("resonate:parent") == caller_id:
        return True
    root = tags.get("resonate:root", caller_id)  # whose task the function is part of
    query = """SELECT 1 FROM tasks WHERE id = ?
               UNION ALL SELECT 1 FROM uses WHERE promise_id = ? AND caller_id = ?"""
    values = (f"__resume:{root}:{called.id}", called.id, caller_id)
    return db.execute(query, values).fetchone() is not None


def _time_out_if_due(db: sqlite3.Connection, promise: Promise, now: int) -> Promise:
    if promise.state != PromiseState.PENDING or now < promise.timeout:
        return promise
    # A timer is a promise that resolves at its timeout.
    is_timer = promise.tags.get("resonate:timeout") == "true"
    state = PromiseState.RESOLVED if is_timer else PromiseState.TIMEDOUT
    settled = structs.replace(promise, state=state, completed_on=promise.timeout)
    tasks.time_out_all_of_root(db, promise)
    _settle(db, settled, now)
    return settled


def _settle(db: sqlite3.Connection, settled: Promise, now: int) -> None:
    db.execute(
        """UPDATE promises
           SET state = :state, value_headers = :value_headers, value_data = :value_data,
               idempotency_key_for_complete = :key, completed_on = :completed_on
           WHERE id = :id""",
        {
            "id": settled.id,
            "state": settled.state,
            "value_headers": encode_strings(settled.value.headers),
            "value_data": settled.value.data,
            "key": settled.idempotency_key_for_complete,
            "completed_on": settled.completed_on,
        },
    )
    tasks.complete_all_of_root(db, settled.id, now)
    tasks.create_from_callbacks(db, settled.id, now)
    db.execute("DELETE FROM callbacks WHERE promise_id = ?", (settled.id,))


def _create_callback(
    db: sqlite3.Connection,
    callback: Callback,
    message_type: MessageType,
    recv: bytes,
    caller: Caller,
) -> tuple[Callback | None, Promise]:
    promise = _find(db, callback.promise_id)
    if promise.state != PromiseState.PENDING:
        return None, promise
    created = db.execute(
        """INSERT INTO callbacks (id, promise_id, root_promise_id, type, head, recv, timeout,
                                  created_on)
           VALUES (:id, :promise_id, :root_promise_id, :type, :head, :recv, :timeout, :created_on)
           ON CONFLICT (id) DO NOTHING""",
        structs.asdict(callback)
        | {"type": message_type, "head": encode_strings(caller.head), "recv": recv.decode()},
    ).rowcount
    return callback if created else None, promise
