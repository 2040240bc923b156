"""Reading rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from msgspec.json import Decoder, Encoder

from devserver.errors import Code, ProtocolError
from devserver.models import Promise, PromiseState, Task, TaskState, Value

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from devserver.models import Search

type MessageType = Literal["invoke", "resume", "notify"]

PROMISE_COLUMNS = """id, state, param_headers, param_data, value_headers, value_data, timeout,
    idempotency_key_for_create, idempotency_key_for_complete, tags, created_on, completed_on"""
# In the order of the fields of `Task`.
TASK_COLUMNS = "id, counter, timeout, root_promise_id, process_id, created_on, completed_on"

# What a row of promises or schedules has to be like for a search.
SEARCH = """sort_id < :before AND id LIKE :pattern AND NOT EXISTS (
    SELECT 1 FROM json_each(:tags) AS wanted WHERE wanted.value IS NOT (
        SELECT tag.value FROM json_each(tags) AS tag WHERE tag.key = wanted.key))"""

decode_strings = Decoder(dict[str, str]).decode
_encode = Encoder().encode


class TaskRow(NamedTuple):
    """A task with what only the server knows of it."""

    task: Task
    state: TaskState
    type: MessageType
    leaf_promise_id: str


def find_promise(db: sqlite3.Connection, promise_id: str) -> Promise | None:
    """Read a promise as it stands, or None where there is none with that id."""
    row = db.execute(
        f"SELECT {PROMISE_COLUMNS} FROM promises WHERE id = ?", (promise_id,)
    ).fetchone()
    return None if row is None else to_promise(row)


def find_task(db: sqlite3.Connection, task_id: str) -> TaskRow:
    """Read a task.

    Raises:
        ProtocolError: there is none with that id.
    """
    row = db.execute(
        f"SELECT {TASK_COLUMNS}, state, type, leaf_promise_id FROM tasks WHERE id = ?",
        (task_id,),
    ).fetchone()
    if row is None:
        raise ProtocolError(Code.TASK_NOT_FOUND)
    *columns, state, message_type, leaf_promise_id = row
    return TaskRow(Task(*columns), TaskState(state), message_type, leaf_promise_id)


def to_promise(row: Sequence[Any]) -> Promise:
    """Make a promise of a row of `PROMISE_COLUMNS`."""
    (
        promise_id,
        state,
        param_headers,
        param_data,
        value_headers,
        value_data,
        timeout,
        key_for_create,
        key_for_complete,
        tags,
        created_on,
        completed_on,
    ) = row
    return Promise(
        id=promise_id,
        state=PromiseState(state),
        param=Value(decode_strings(param_headers), param_data),
        value=Value(decode_strings(value_headers), value_data),
        timeout=timeout,
        idempotency_key_for_create=key_for_create,
        idempotency_key_for_complete=key_for_complete,
        tags=decode_strings(tags),
        created_on=created_on,
        completed_on=completed_on,
    )


def search_parameters(query: Search) -> dict[str, Any]:
    """Give the parameters of `SEARCH`, and of the limit that goes with it."""
    return {
        "before": query.before,
        "pattern": query.id.replace("*", "%"),
        "tags": _encode(query.tags),
        "limit": query.limit,
    }
