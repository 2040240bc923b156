"""The SQLite file."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA = Path(__file__).with_name("schema.sql")
# Mark a file as one of ours ("RESO") and say which version of the schema it has.
APPLICATION_ID = 0x5245534F
SCHEMA_VERSION = 4


# What to do about the failures that a person can do something about.
REMEDIES = {
    "SQLITE_BUSY": "another devserver has it; stop that one, or choose another file with --db",
    "SQLITE_CANTOPEN": "choose another file with --db",
    "SQLITE_CORRUPT": "it is damaged; choose another file with --db",
    "SQLITE_FULL": "make room on the disk and start again",
    "SQLITE_IOERR": "look after the disk and start again",
    "SQLITE_NOTADB": "choose another file with --db",
    "SQLITE_READONLY": "make the file and its folder writable, or choose another one with --db",
}


class DatabaseError(Exception):
    """The file cannot be used; the message says why, and what to do."""

    @classmethod
    def of(cls, path: str, error: sqlite3.Error) -> Self:
        """Make one of what SQLite says."""
        name = getattr(error, "sqlite_errorname", "")
        remedy = next((REMEDIES[known] for known in REMEDIES if name.startswith(known)), None)
        return cls(f"Cannot use the database {path}: {error}" + (f"; {remedy}" if remedy else ""))


def open_database(path: str) -> sqlite3.Connection:
    """Open the file, and make it where it does not exist.

    Args:
        path: the file, or `:memory:`. No other process can open it meanwhile.

    Raises:
        DatabaseError: the file is in use, is no database, or is not one of ours.
    """
    db: sqlite3.Connection | None = None
    try:
        db = sqlite3.connect(path, timeout=1, autocommit=True)
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        # Before anything is written, even if only the journal's mode.
        _check_owner(db)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        with transaction(db):
            _create_tables(db)
    except sqlite3.Error as e:
        if db is not None:
            db.close()
        raise DatabaseError.of(path, e) from e
    return db


def _check_owner(db: sqlite3.Connection) -> None:
    (tables,) = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    (owner,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if tables and (owner, version) != (APPLICATION_ID, SCHEMA_VERSION):
        raise sqlite3.DatabaseError(
            "it belongs to another program or version; choose another file with --db"
        )


def _create_tables(db: sqlite3.Connection) -> None:
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    # Not `executescript`, which would commit before it begins.
    for statement in SCHEMA.read_text(encoding="utf-8").split(";\n"):
        db.execute(statement)


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Make what happens inside durable when it ends, or undo it when it fails."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
