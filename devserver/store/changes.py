"""The changes since a watcher last read the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec.json import Decoder, Encoder

from devserver.models import PromiseState
from devserver.store.rows import decode_strings
from devserver.store.tasks import OPEN

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

# How many of the promises that already exist a new watcher gets.
MAX_PROMISES = 5_000
# Among how many of the newest promises the server looks for the finished ones. The others may all
# be timers, which a new watcher does not get.
MAX_SEARCHED = 4 * MAX_PROMISES
# How many of the attempts that already exist it gets.
MAX_ATTEMPTS = 10_000
# How many bytes of a value a watcher gets, and how long a parameter may be for the server to
# look for the function's name in it.
MAX_VALUE = 80
MAX_PARAM = 4_096

_PROMISE = f"""sort_id, id, state, tags, timeout, created_on, completed_on,
    substr(value_data, 1, {MAX_VALUE}), length(value_data), substr(param_data, 1, {MAX_PARAM})"""
_TASK = f"""sort_id, type, state, root_promise_id, leaf_promise_id,
    type = 'resume' AND (SELECT tags ->> '$."resonate:timeout"' FROM promises
                         WHERE promises.id = leaf_promise_id) IS 'true',
    created_on, COALESCE(claimed_by, process_id), sent_on, claimed_on, completed_on, {OPEN}"""
_ATTEMPT = "sort_id, task, root_promise_id, process_id, sent_on, claimed_on, ended_on, outcome"
_EVENT = "sort_id, type, created_on, process_id, poll_group, number, active_until"


class _Call(msgspec.Struct):
    """The parameter of a promise that the SDK has created."""

    func: str


_encode = Encoder().encode
_decode_call = Decoder(_Call).decode


class WatchedPromise(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A promise, as a watcher gets it. All times are ms since the epoch.

    Args:
        sort_id: its place in the order of creation.
        id: its id.
        state: its state.
        created_on: when it was created.
        completed_on: when it was completed, if it was.
        parent: the promise whose function created it.
        func: the name of its function, if the SDK created it.
        timeout: when it resolves; only timers have it.
        value: the beginning of its value, as text.
        size: the length of the value in bytes, if the value is cut.
    """

    sort_id: int
    id: str
    state: PromiseState
    created_on: int
    completed_on: int | None = None
    parent: str | None = None
    func: str | None = None
    timeout: int | None = None
    value: str = ""
    size: int | None = None


class WatchedTask(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A task with its latest attempt.

    Args:
        sort_id: its place in the order of creation.
        type: invoke or resume.
        state: its state.
        root_promise_id: the promise whose function it runs.
        leaf_promise_id: for a resume task, the promise that the function waited for.
        is_timer: whether that promise is a timer: the function slept.
        created_on: when it was created.
        process_id: the process that the server sent it to, or that claimed it.
        sent_on: when the server sent it there.
        claimed_on: when that process claimed it.
        completed_on: when it was completed.
    """

    sort_id: int
    type: str
    state: str
    root_promise_id: str
    created_on: int
    leaf_promise_id: str | None = None
    is_timer: bool = False
    process_id: str | None = None
    sent_on: int | None = None
    claimed_on: int | None = None
    completed_on: int | None = None


class Attempt(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """An attempt that ended without completing its task.

    Args:
        sort_id: its place in the order in which attempts ended.
        task: the task's `sort_id`.
        root_promise_id: the promise whose function it ran.
        process_id: the process that the server sent the task to, or that claimed it.
        ended_on: when it ended.
        outcome: disconnected, expired or dropped.
        sent_on: when the server sent the task; None if it was created claimed.
        claimed_on: when the process claimed it; None if it never did.
    """

    sort_id: int
    task: int
    root_promise_id: str
    process_id: str
    ended_on: int
    outcome: str
    sent_on: int | None = None
    claimed_on: int | None = None


class WatchedCallback(msgspec.Struct, frozen=True, rename="camel"):
    """One promise's function waits for another promise.

    Args:
        promise_id: the promise that it waits for.
        root_promise_id: the promise whose function waits.
        created_on: since when.
    """

    promise_id: str
    root_promise_id: str
    created_on: int


class ProcessEvent(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A process connected or disconnected, or the server started or stopped.

    Args:
        sort_id: its place in the order of events.
        type: connected, disconnected, started or stopped.
        created_on: when.
        process_id: the process; None for the server.
        group: its poll group.
        number: its number in that group, from 1.
        active_until: for a start of the server, when it was last active before that.
    """

    sort_id: int
    type: str
    created_on: int
    process_id: str | None = None
    group: str | None = None
    number: int | None = None
    active_until: int | None = None


class Changes(NamedTuple):
    """The changes that a watcher has not seen; each list is in the order of `sort_id`.

    Args:
        promises: promises that are new, or complete now.
        tasks: tasks that are new, or that have changed.
        attempts: attempts that have ended without completing their task.
        callbacks: new callbacks. A callback ends when its promise is complete.
        events: connections and disconnections, and starts and stops of the server.
    """

    promises: list[WatchedPromise]
    tasks: list[WatchedTask]
    attempts: list[Attempt]
    callbacks: list[WatchedCallback]
    events: list[ProcessEvent]


class Seen(NamedTuple):
    """How far a watcher has read. Contains only unfinished work, so it stays small.

    Args:
        writes: how many rows this connection to the database had changed.
        promise: the newest promise's `sort_id`.
        task: the newest task's.
        attempt: the newest attempt's.
        event: the newest process event's.
        callbacks: when the newest callbacks were created, and their ids.
        pending: the promises that were pending, by `sort_id`.
        open: the tasks that were not complete, by `sort_id`.
    """

    writes: int
    promise: int
    task: int
    attempt: int
    event: int
    callbacks: tuple[int, frozenset[str]]
    pending: frozenset[int]
    open: dict[int, WatchedTask]


def newest(db: sqlite3.Connection, _: int) -> tuple[Seen, Changes, bool]:
    """Read all pending promises and the newest others, and the work on them.

    Timers that have ended are not included.

    Returns:
        How far that is, the promises and the rest, and whether older promises were left out.
    """
    promises, left_out = _newest_promises(db)
    shown = _encode([promise.id for promise in promises]).decode()
    rows = db.execute(
        f"""SELECT {_TASK} FROM tasks WHERE id IN
                (SELECT '__invoke:' || value FROM json_each(:shown))
            UNION ALL
            SELECT {_TASK} FROM tasks WHERE sort_id IN (
                SELECT tasks.sort_id FROM json_each(:shown) AS shown JOIN tasks
                ON tasks.id >= '__resume:' || shown.value || ':'
                   AND tasks.id < '__resume:' || shown.value || ';'
                   AND tasks.root_promise_id = shown.value)
            ORDER BY 1""",
        {"shown": shown},
    ).fetchall()
    attempts = db.execute(
        f"SELECT {_ATTEMPT} FROM attempts ORDER BY sort_id DESC LIMIT ?", (MAX_ATTEMPTS,)
    ).fetchall()[::-1]
    callbacks, seen_callbacks = _callbacks(db, (0, frozenset()))
    events = db.execute(f"SELECT {_EVENT} FROM process_events ORDER BY sort_id").fetchall()
    tasks = [_task(row) for row in rows]
    seen = Seen(
        writes=db.total_changes,
        promise=_last(db, "promises"),
        task=_last(db, "tasks"),
        attempt=_last(db, "attempts"),
        event=_last(db, "process_events"),
        callbacks=seen_callbacks,
        pending=frozenset(p.sort_id for p in promises if p.state == PromiseState.PENDING),
        open={task.sort_id: task for row, task in zip(rows, tasks, strict=True) if row[-1]},
    )
    found = Changes(
        promises, tasks, [_attempt(row) for row in attempts], callbacks, [_event(e) for e in events]
    )
    return seen, found, left_out


def since(seen: Seen, db: sqlite3.Connection, _: int) -> tuple[Seen, Changes]:
    """Read what has changed.

    Every query goes by `sort_id` or by unfinished work, so finished work does not slow it down.

    Args:
        seen: how far the watcher had seen.
        db: the database.

    Returns:
        How far it has seen now, and what is new to it.
    """
    writes = db.total_changes
    if writes == seen.writes:
        return seen, Changes([], [], [], [], [])
    promises = [
        _promise(row)
        for row in [
            *_rows(
                db,
                f"""SELECT {_PROMISE} FROM promises
                    WHERE sort_id IN (SELECT value FROM json_each(?)) AND state <> 'PENDING'""",
                seen.pending,
            ),
            *_later(db, f"SELECT {_PROMISE} FROM promises", seen.promise),
        ]
    ]
    rows = [
        *_rows(
            db,
            f"SELECT {_TASK} FROM tasks WHERE sort_id IN (SELECT value FROM json_each(?))",
            seen.open,
        ),
        *_later(db, f"SELECT {_TASK} FROM tasks", seen.task),
    ]
    tasks = [_task(row) for row in rows if row[1] != "notify"]
    open_now = {row[0] for row in rows if row[-1]}
    attempts = [_attempt(a) for a in _later(db, f"SELECT {_ATTEMPT} FROM attempts", seen.attempt)]
    events = [_event(e) for e in _later(db, f"SELECT {_EVENT} FROM process_events", seen.event)]
    callbacks, seen_callbacks = _callbacks(db, seen.callbacks)
    complete = {p.sort_id for p in promises if p.state != PromiseState.PENDING}
    pending = {p.sort_id for p in promises} - complete
    now_seen = Seen(
        writes=writes,
        promise=_last(db, "promises"),
        task=_last(db, "tasks"),
        attempt=_last(db, "attempts"),
        event=_last(db, "process_events"),
        callbacks=seen_callbacks,
        pending=seen.pending - complete | pending,
        open={task.sort_id: task for task in tasks if task.sort_id in open_now},
    )
    changed = [task for task in tasks if task != seen.open.get(task.sort_id)]
    return now_seen, Changes(promises, changed, attempts, callbacks, events)


def _newest_promises(db: sqlite3.Connection) -> tuple[list[WatchedPromise], bool]:
    # SQLite ignores the partial index if the query sorts by sort_id; "+" hides the column.
    pending = db.execute(
        f"SELECT {_PROMISE} FROM promises WHERE state = 'PENDING' ORDER BY +sort_id DESC LIMIT ?",
        (MAX_PROMISES + 1,),
    ).fetchall()
    room = max(MAX_PROMISES - len(pending), 0)
    oldest, last = db.execute(
        """SELECT (SELECT MIN(sort_id) FROM promises), (SELECT MAX(sort_id) FROM promises)"""
    ).fetchone()
    searched_from = (last or 0) - MAX_SEARCHED
    finished = db.execute(
        f"""SELECT {_PROMISE} FROM promises
            WHERE sort_id > ? AND state <> 'PENDING'
                  AND tags ->> '$."resonate:timeout"' IS NOT 'true'
            ORDER BY sort_id DESC LIMIT ?""",
        (searched_from, room + 1),
    ).fetchall()
    left_out = (
        len(pending) > MAX_PROMISES
        or len(finished) > room
        or (oldest is not None and oldest <= searched_from)
    )
    promises = [_promise(row) for row in [*pending[:MAX_PROMISES], *finished[:room]]]
    return sorted(promises, key=lambda promise: promise.sort_id), left_out


def _callbacks(
    db: sqlite3.Connection, seen: tuple[int, frozenset[str]]
) -> tuple[list[WatchedCallback], tuple[int, frozenset[str]]]:
    begin, ids = seen
    rows = db.execute(
        """SELECT id, promise_id, root_promise_id, created_on FROM callbacks
           WHERE type = 'resume' AND created_on >= ?""",
        (begin,),
    ).fetchall()
    new = [WatchedCallback(*row[1:]) for row in rows if row[0] not in ids]
    if not new:
        return [], seen
    last = max(row[-1] for row in rows)
    return new, (last, frozenset(row[0] for row in rows if row[-1] == last))


def _rows(db: sqlite3.Connection, query: str, sort_ids: Iterable[int]) -> list[Any]:
    return db.execute(query, (_encode(sorted(sort_ids)).decode(),)).fetchall()


def _later(db: sqlite3.Connection, query: str, sort_id: int) -> list[Any]:
    return db.execute(f"{query} WHERE sort_id > ? ORDER BY sort_id", (sort_id,)).fetchall()


def _last(db: sqlite3.Connection, table: str) -> int:
    (sort_id,) = db.execute(f"SELECT COALESCE(MAX(sort_id), 0) FROM {table}").fetchone()
    return int(sort_id)


def _promise(row: Any) -> WatchedPromise:
    (
        sort_id,
        promise_id,
        state,
        tags_text,
        timeout,
        created_on,
        completed_on,
        value,
        size,
        param,
    ) = row
    tags = decode_strings(tags_text)
    is_timer = tags.get("resonate:timeout") == "true"
    # The SDK gives a timer no parent tag. It makes the timer's id from its owner's.
    owner = promise_id.rpartition(".")[0] if is_timer else None
    parent = tags.get("resonate:parent", owner)
    return WatchedPromise(
        sort_id=sort_id,
        id=promise_id,
        state=PromiseState(state),
        created_on=created_on,
        completed_on=completed_on,
        parent=None if parent == promise_id else parent or None,
        func=_func(param),
        timeout=timeout if is_timer else None,
        value=value.decode(errors="replace") if value else "",
        size=size if size > MAX_VALUE else None,
    )


def _func(param: bytes | None) -> str | None:
    try:
        return _decode_call(param or b"").func
    except msgspec.DecodeError:
        return None


def _task(row: Any) -> WatchedTask:
    (
        sort_id,
        task_type,
        state,
        root,
        leaf,
        is_timer,
        created_on,
        process_id,
        sent_on,
        claimed_on,
        completed_on,
        _,
    ) = row
    return WatchedTask(
        sort_id=sort_id,
        type=task_type,
        state=state,
        root_promise_id=root,
        leaf_promise_id=leaf if task_type == "resume" else None,
        is_timer=bool(is_timer),
        created_on=created_on,
        process_id=process_id,
        sent_on=sent_on,
        claimed_on=claimed_on,
        completed_on=completed_on,
    )


def _attempt(row: Any) -> Attempt:
    sort_id, task, root, process_id, sent_on, claimed_on, ended_on, outcome = row
    return Attempt(sort_id, task, root, process_id, ended_on, outcome, sent_on, claimed_on)


def _event(row: Any) -> ProcessEvent:
    return ProcessEvent(*row)
