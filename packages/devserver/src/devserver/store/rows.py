"""Reading, inserting and searching rows. The values of a row have the names of its columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from msgspec.json import Decoder, Encoder

from devserver.store.errors import Code, ProtocolError
from devserver.store.models import Promise, PromiseState, Task, Value

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from devserver.store.models import Search

type MessageType = Literal["invoke", "resume", "notify"]

# The condition of a search, for promises and for schedules.
SEARCH = """sort_id < :before AND id LIKE :pattern AND NOT EXISTS (
    SELECT 1 FROM json_each(:tags) AS wanted WHERE wanted.value IS NOT (
        SELECT tag.value FROM json_each(tags) AS tag WHERE tag.key = wanted.key))"""

decode_strings = Decoder(dict[str, str]).decode
_encode = Encoder().encode


def encode_strings(strings: Mapping[str, str]) -> str:
    """Encode headers or tags as JSON."""
    return _encode(dict(strings)).decode()


def insert(db: sqlite3.Connection, table: str, **columns: Any) -> sqlite3.Row:
    """Insert a row.

    Args:
        db: the database.
        table: the table's name.
        columns: the values; columns left out get their defaults.

    Returns:
        The row as it is in the table now.
    """
    names, values = ", ".join(columns), ", ".join(f":{name}" for name in columns)
    row: sqlite3.Row = db.execute(
        f"INSERT INTO {table} ({names}) VALUES ({values}) RETURNING *", columns
    ).fetchone()
    return row


def find_promise(db: sqlite3.Connection, promise_id: str) -> Promise | None:
    """Read a promise as it is stored. Returns None if no promise has that id."""
    row = db.execute("SELECT * FROM promises WHERE id = ?", (promise_id,)).fetchone()
    return None if row is None else to_promise(row)


def find_task(db: sqlite3.Connection, task_id: str) -> sqlite3.Row:
    """Read a task's row.

    Raises:
        ProtocolError: no task has that id.
    """
    row: sqlite3.Row | None = db.execute("SELECT * FROM tasks WHERE id = ?", (task_id,)).fetchone()
    if row is None:
        raise ProtocolError(Code.TASK_NOT_FOUND)
    return row


def to_promise(row: sqlite3.Row) -> Promise:
    """Convert a row of the table `promises`."""
    return Promise(
        id=row["id"],
        state=PromiseState(row["state"]),
        param=Value(decode_strings(row["param_headers"]), row["param_data"]),
        value=Value(decode_strings(row["value_headers"]), row["value_data"]),
        timeout=row["timeout"],
        idempotency_key_for_create=row["idempotency_key_for_create"],
        idempotency_key_for_complete=row["idempotency_key_for_complete"],
        tags=decode_strings(row["tags"]),
        created_on=row["created_on"],
        completed_on=row["completed_on"],
    )


def to_task(row: sqlite3.Row) -> Task:
    """Convert a row of the table `tasks`."""
    return Task(
        id=row["id"],
        counter=row["counter"],
        timeout=row["timeout"],
        root_promise_id=row["root_promise_id"],
        process_id=row["process_id"],
        created_on=row["created_on"],
        completed_on=row["completed_on"],
    )


def search_parameters(query: Search) -> dict[str, Any]:
    """Return the parameters of `SEARCH`, and the limit that goes with it."""
    return {
        "before": query.before,
        "pattern": query.id.replace("*", "%"),
        "tags": _encode(query.tags),
        "limit": query.limit,
    }
