"""What has changed since somebody last looked, for whoever watches the store."""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec.json import Encoder

from devserver.models import PromiseState
from devserver.store.rows import decode_strings
from devserver.store.tasks import OPEN

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

# How many promises a watcher is shown that were there before it.
MAX_PROMISES = 5_000
# How much of a value (bytes).
MAX_VALUE = 80

_PROMISE = f"""sort_id, id, state, tags, timeout, created_on, completed_on,
    substr(value_data, 1, {MAX_VALUE}), length(value_data)"""
_RUN = f"sort_id, root_promise_id, claimed_by, claimed_before, {OPEN}, created_on"

_encode = Encoder().encode


class WatchedPromise(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A promise in few words.

    Args:
        place: its place in the order of creation.
        id: its id.
        state: where it stands.
        created_on: when it was created; this and every other time: ms since the epoch.
        completed_on: when it was completed, if it was.
        parent: the promise whose function created it.
        due: when its time comes; only timers have it.
        value: the beginning of its value, as text.
        size: the length of a value that is not given whole (bytes).
    """

    place: int
    id: str
    state: PromiseState
    created_on: int
    completed_on: int | None = None
    parent: str | None = None
    due: int | None = None
    value: str = ""
    size: int | None = None


class Run(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who has worked on a promise: one of its tasks, whoever may have it now.

    Args:
        task: the task's place in the order of creation.
        promise: whose function it runs.
        process: who claimed it last.
        before: who had claimed it before, until it was taken back.
    """

    task: int
    promise: str
    process: str
    before: str | None = None


class Changes(NamedTuple):
    """What is new to a watcher.

    Args:
        promises: those that are new, and those that are complete now, the oldest first.
        runs: those that are new or that another process has begun, the oldest first.
    """

    promises: list[WatchedPromise]
    runs: list[Run]


class Seen(NamedTuple):
    """How far somebody has seen. What is over is in it no more, so that it does not grow.

    Args:
        writes: how much had been written.
        promise: the place of the newest promise.
        task: the place of the newest task.
        pending: the places of the promises that were pending.
        open: the tasks that were not complete, by their places; None for those nobody had claimed.
    """

    writes: int
    promise: int
    task: int
    pending: frozenset[int]
    open: dict[int, Run | None]


def newest(db: sqlite3.Connection, _: int) -> tuple[Seen, Changes, bool]:
    """Read the newest promises, without the timers that are over, and who has worked on them.

    Returns:
        How far that is, the promises and runs, and whether older promises were left out.
    """
    rows: list[Any] = []
    left_out = False
    for row in db.execute(f"SELECT {_PROMISE} FROM promises ORDER BY sort_id DESC"):
        promise = _promise(row)
        if promise.due is not None and promise.state != PromiseState.PENDING:
            continue
        if len(rows) == MAX_PROMISES:
            left_out = True
            break
        rows.append(promise)
    promises = rows[::-1]
    # No task is older than its promise.
    begin = promises[0].created_on if promises else 0
    newest_tasks = db.execute(
        f"SELECT {_RUN} FROM tasks WHERE type <> 'notify' ORDER BY sort_id DESC"
    )
    tasks = list(takewhile(lambda row: row[-1] >= begin, newest_tasks))[::-1]
    seen = Seen(
        writes=db.total_changes,
        promise=_last(db, "promises"),
        task=_last(db, "tasks"),
        pending=frozenset(p.place for p in promises if p.state == PromiseState.PENDING),
        open={row[0]: _run(row) for row in tasks if row[4]},
    )
    return seen, Changes(promises, [run for row in tasks if (run := _run(row))]), left_out


def since(seen: Seen, db: sqlite3.Connection, _: int) -> tuple[Seen, Changes]:
    """Read what has changed.

    Every query goes by places or by what was alive, and is none the slower for what is over.

    Args:
        seen: how far the watcher had seen.
        db: the database.

    Returns:
        How far it has seen now, and what is new to it.
    """
    writes = db.total_changes
    if writes == seen.writes:
        return seen, Changes([], [])
    promises = [
        *_rows(
            db,
            f"""SELECT {_PROMISE} FROM promises
                WHERE sort_id IN (SELECT value FROM json_each(?)) AND state <> 'PENDING'""",
            seen.pending,
        ),
        *db.execute(
            f"SELECT {_PROMISE} FROM promises WHERE sort_id > ? ORDER BY sort_id", (seen.promise,)
        ),
    ]
    tasks = [
        *_rows(
            db,
            f"SELECT {_RUN} FROM tasks WHERE sort_id IN (SELECT value FROM json_each(?))",
            seen.open,
        ),
        *db.execute(
            f"SELECT {_RUN} FROM tasks WHERE sort_id > ? AND type <> 'notify' ORDER BY sort_id",
            (seen.task,),
        ),
    ]
    found = [_promise(row) for row in promises]
    complete = {promise.place for promise in found if promise.state != PromiseState.PENDING}
    pending = {promise.place for promise in found} - complete
    now_seen = Seen(
        writes=writes,
        promise=_last(db, "promises"),
        task=_last(db, "tasks"),
        pending=seen.pending - complete | pending,
        open={row[0]: _run(row) for row in tasks if row[4]},
    )
    runs = [run for row in tasks if (run := _run(row)) and run != seen.open.get(run.task)]
    return now_seen, Changes(found, runs)


def _rows(db: sqlite3.Connection, query: str, places: Iterable[int]) -> list[Any]:
    return db.execute(query, (_encode(sorted(places)).decode(),)).fetchall()


def _last(db: sqlite3.Connection, table: str) -> int:
    (place,) = db.execute(f"SELECT COALESCE(MAX(sort_id), 0) FROM {table}").fetchone()
    return int(place)


def _promise(row: Any) -> WatchedPromise:
    place, promise_id, state, tags_text, timeout, created_on, completed_on, value, size = row
    tags = decode_strings(tags_text)
    is_timer = tags.get("resonate:timeout") == "true"
    # A timer has no tag that says whose it is; the SDK says so in its id.
    owner = promise_id.rpartition(".")[0] if is_timer else None
    parent = tags.get("resonate:parent", owner)
    return WatchedPromise(
        place=place,
        id=promise_id,
        state=PromiseState(state),
        created_on=created_on,
        completed_on=completed_on,
        parent=None if parent == promise_id else parent or None,
        due=timeout if is_timer else None,
        value=value.decode(errors="replace") if value else "",
        size=size if size > MAX_VALUE else None,
    )


def _run(row: Any) -> Run | None:
    place, promise_id, process, before, *_ = row
    return None if process is None else Run(place, promise_id, process, before)
