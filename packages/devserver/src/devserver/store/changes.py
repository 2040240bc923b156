"""The changes since a watcher last read the store.

Each row is a dict with the names that `GET /watch` sends, without the columns that are NULL.
All times are ms since the epoch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.json import Encoder

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    type Rows = list[dict[str, Any]]

# How many of the promises that already exist a new watcher gets.
MAX_PROMISES = 5_000
# Among how many of the newest promises the server looks for the finished ones. The others may all
# be timers, which a new watcher does not get.
MAX_SEARCHED = 4 * MAX_PROMISES
# How many of the attempts that already exist it gets.
MAX_ATTEMPTS = 10_000
# How many bytes of a value a watcher gets.
MAX_VALUE = 80

IS_TIMER = """tags ->> '$."resonate:timeout"' IS 'true'"""
PROMISE = f"""
    sort_id AS sortId,                                       -- its place in the order of creation
    id, state, created_on AS createdOn, completed_on AS completedOn,
    NULLIF(tags ->> '$."resonate:parent"', id) AS parent,    -- the promise whose function called it
    CASE WHEN {IS_TIMER} THEN timeout END AS timeout,        -- when a timer resolves
    NULLIF(substr(value_data, 1, {MAX_VALUE}), x'') AS value,
    CASE WHEN length(value_data) > {MAX_VALUE} THEN length(value_data) END AS size
"""
TASK = f"""
    sort_id AS sortId, type, state,
    root_promise_id AS rootPromiseId,                        -- the promise whose function it runs
    -- A resume task: the promise that the function waited for, and whether that is a timer.
    CASE type WHEN 'resume' THEN leaf_promise_id END AS leafPromiseId,
    (SELECT 1 FROM promises WHERE id = leaf_promise_id AND {IS_TIMER}) AS isTimer,
    created_on AS createdOn, completed_on AS completedOn,
    -- The latest attempt: the process that the server sent it to or that claimed it, and when.
    COALESCE(claimed_by, process_id) AS processId, sent_on AS sentOn, claimed_on AS claimedOn,
    -- Until when that process has it. The last heartbeat, or the claim, was one `ttl` earlier.
    -- After deaths, when the server sends it again.
    CASE WHEN state IN ('ENQUEUED', 'CLAIMED') OR (state = 'INIT' AND deaths > 1) THEN expires_at
    END AS expiresAt,
    NULLIF(MAX(deaths, 1), 1) AS deaths,                     -- from the second on
    CASE state WHEN 'CLAIMED' THEN ttl END AS ttl,
    CASE state WHEN 'PARKED' THEN recv ->> '$' END AS recv   -- where no worker takes it
"""
ATTEMPT = """
    sort_id AS sortId,                                       -- its place in the order of their ends
    task,                                                    -- the task's sortId
    root_promise_id AS rootPromiseId, process_id AS processId,
    sent_on AS sentOn, claimed_on AS claimedOn, ended_on AS endedOn, outcome
"""
CALLBACK = """
    promise_id AS promiseId,                                 -- the promise that is waited for
    CASE type WHEN 'resume' THEN root_promise_id END AS rootPromiseId,   -- by its function
    CASE type WHEN 'notify' THEN recv ->> '$' END AS recv                -- or by a client
"""
USE = """
    sort_id AS sortId, created_on AS createdOn,
    promise_id AS promiseId,                                 -- the promise that was complete
    caller_id AS callerId                                    -- the promise whose function called it
"""
EVENT = """
    sort_id AS sortId, type, created_on AS createdOn, process_id AS processId,
    active_until AS activeUntil,                             -- of the server, before this start
    number,                                                  -- the process's place in its group
    poll_group AS "group"
"""

_encode = Encoder().encode


class Changes(NamedTuple):
    """The changes that a watcher has not seen.

    Args:
        promises: promises that are new, or complete now; see `PROMISE`.
        tasks: tasks that are new, or that have changed; see `TASK`.
        attempts: attempts that ended without completing their task; see `ATTEMPT`.
        callbacks: new callbacks and subscriptions. They end when their promise is complete.
        uses: calls that got the stored result of an earlier one; see `USE`.
        events: connections and disconnections, and starts and stops of the server; see `EVENT`.
    """

    promises: Rows
    tasks: Rows
    attempts: Rows
    callbacks: Rows
    uses: Rows
    events: Rows


class Seen(NamedTuple):
    """How far a watcher has read. Contains only unfinished work, so it stays small.

    Args:
        writes: how many rows this connection to the database had changed.
        last: the newest `sort_id` in each table.
        pending: the promises that were pending, by `sort_id`.
        open: the tasks that were not complete, by `sort_id`.
        callbacks: the ids of the callbacks and subscriptions of pending promises.
    """

    writes: int
    last: dict[str, int]
    pending: frozenset[int]
    open: dict[int, dict[str, Any]]
    callbacks: frozenset[str]


def newest(db: sqlite3.Connection, _: int) -> tuple[Seen, Changes, bool]:
    """Read all pending promises and the newest others, and the work on them.

    Timers that have ended are not included.

    Returns:
        How far that is, the promises and the rest, and whether older promises were left out.
    """
    promises, left_out = _newest_promises(db)
    callbacks, seen_callbacks = _callbacks(db, frozenset())
    found = Changes(
        promises,
        _read(
            db,
            f"""SELECT {TASK} FROM tasks WHERE id IN
                    (SELECT '__invoke:' || value FROM json_each(:shown))
                UNION ALL
                SELECT {TASK} FROM tasks WHERE sort_id IN (
                    SELECT tasks.sort_id FROM json_each(:shown) AS shown JOIN tasks
                    ON tasks.id >= '__resume:' || shown.value || ':'
                       AND tasks.id < '__resume:' || shown.value || ';'
                       AND tasks.root_promise_id = shown.value)
                ORDER BY sortId""",
            shown=_encode([promise["id"] for promise in promises]).decode(),
        ),
        _read(
            db,
            f"SELECT {ATTEMPT} FROM attempts ORDER BY sort_id DESC LIMIT :most",
            most=MAX_ATTEMPTS,
        )[::-1],
        callbacks,
        _read(db, f"SELECT {USE} FROM uses ORDER BY sort_id"),
        _read(db, f"SELECT {EVENT} FROM process_events ORDER BY sort_id"),
    )
    return _seen(db, found, frozenset(), seen_callbacks), found, left_out


def since(seen: Seen, db: sqlite3.Connection, _: int) -> tuple[Seen, Changes]:
    """Read what has changed.

    Every query goes by `sort_id` or by unfinished work, so finished work does not slow it down.

    Args:
        seen: how far the watcher had seen.
        db: the database.

    Returns:
        How far it has seen now, and what is new to it.
    """
    if db.total_changes == seen.writes:
        return seen, Changes([], [], [], [], [], [])
    completed = _again(db, "promises", PROMISE, seen.pending, "state <> 'PENDING'")
    callbacks, seen_callbacks = _callbacks(db, seen.callbacks)
    found = Changes(
        completed + _later(db, "promises", PROMISE, seen),
        _again(db, "tasks", TASK, seen.open) + _later(db, "tasks", TASK, seen, "type <> 'notify'"),
        _later(db, "attempts", ATTEMPT, seen),
        callbacks,
        _later(db, "uses", USE, seen),
        _later(db, "process_events", EVENT, seen),
    )
    still_pending = seen.pending - {promise["sortId"] for promise in completed}
    changed = [task for task in found.tasks if task != seen.open.get(task["sortId"])]
    return _seen(db, found, still_pending, seen_callbacks), found._replace(tasks=changed)


def _seen(
    db: sqlite3.Connection, found: Changes, pending: frozenset[int], callbacks: frozenset[str]
) -> Seen:
    tables = ("promises", "tasks", "attempts", "uses", "process_events")
    return Seen(
        writes=db.total_changes,
        last={table: _last(db, table) for table in tables},
        pending=pending | {p["sortId"] for p in found.promises if "completedOn" not in p},
        open={task["sortId"]: task for task in found.tasks if "completedOn" not in task},
        callbacks=callbacks,
    )


def _newest_promises(db: sqlite3.Connection) -> tuple[Rows, bool]:
    # SQLite ignores the partial index if the query sorts by sort_id; "+" hides the column.
    pending = _read(
        db,
        f"""SELECT {PROMISE} FROM promises WHERE state = 'PENDING'
            ORDER BY +sort_id DESC LIMIT :most""",
        most=MAX_PROMISES + 1,
    )
    room = max(MAX_PROMISES - len(pending), 0)
    searched_from = _last(db, "promises") - MAX_SEARCHED
    finished = _read(
        db,
        f"""SELECT {PROMISE} FROM promises
            WHERE sort_id > :searched_from AND state <> 'PENDING' AND NOT {IS_TIMER}
            ORDER BY sort_id DESC LIMIT :most""",
        searched_from=searched_from,
        most=room + 1,
    )
    # The store deletes no promise, so the oldest one's `sort_id` is 1.
    left_out = len(pending) > MAX_PROMISES or len(finished) > room or searched_from >= 1
    promises = pending[:MAX_PROMISES] + finished[:room]
    return sorted(promises, key=lambda promise: promise["sortId"]), left_out


def _callbacks(db: sqlite3.Connection, seen: frozenset[str]) -> tuple[Rows, frozenset[str]]:
    rows = db.execute(f"SELECT id, {CALLBACK} FROM callbacks ORDER BY created_on").fetchall()
    new = [_named(row) for row in rows if row["id"] not in seen]
    return new, frozenset(row["id"] for row in rows)


def _again(
    db: sqlite3.Connection, table: str, columns: str, sort_ids: Iterable[int], which: str = "TRUE"
) -> Rows:
    """Read rows that a watcher has seen before."""
    query = f"""SELECT {columns} FROM {table}
                WHERE sort_id IN (SELECT value FROM json_each(:sort_ids)) AND {which}"""
    return _read(db, query, sort_ids=_encode(sorted(sort_ids)).decode())


def _later(
    db: sqlite3.Connection, table: str, columns: str, seen: Seen, which: str = "TRUE"
) -> Rows:
    """Read the rows that were added since a watcher has read the table."""
    query = f"SELECT {columns} FROM {table} WHERE sort_id > :last AND {which} ORDER BY sort_id"
    return _read(db, query, last=seen.last[table])


def _last(db: sqlite3.Connection, table: str) -> int:
    (sort_id,) = db.execute(f"SELECT COALESCE(MAX(sort_id), 0) FROM {table}").fetchone()
    return int(sort_id)


def _read(db: sqlite3.Connection, query: str, **parameters: object) -> Rows:
    return [_named(row) for row in db.execute(query, parameters)]


def _named(row: sqlite3.Row) -> dict[str, Any]:
    return {
        # A value's beginning is bytes, whatever they are.
        name: value.decode(errors="replace") if isinstance(value, bytes) else value
        for name, value in dict(row).items()
        if value is not None
    }
