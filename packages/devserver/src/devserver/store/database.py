"""The SQLite file."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self, override

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA = Path(__file__).with_name("schema.sql")
# The file's header says that devserver wrote the file ("RESO"), and which schema it has.
APPLICATION_ID = 0x5245534F
SCHEMA_VERSION = 7


# Advice to the user, for each kind of failure.
REMEDIES = {
    "SQLITE_BUSY": "Another devserver is using it. Stop that one, or use another file with --db.",
    "SQLITE_CANTOPEN": "Choose another file with --db.",
    "SQLITE_CORRUPT": "The file is damaged. Choose another file with --db.",
    "SQLITE_FULL": "Free some disk space and start again.",
    "SQLITE_IOERR": "Check the disk and start again.",
    "SQLITE_NOTADB": "Choose another file with --db.",
    "SQLITE_READONLY": "Make the file and its folder writable, or choose another file with --db.",
}


class DatabaseError(Exception):
    """The file cannot be used. The message says why, and what to do."""

    @classmethod
    def of(cls, path: str, error: sqlite3.Error) -> Self:
        """Explain an error of SQLite.

        Args:
            path: the file.
            error: what SQLite raised.
        """
        name = getattr(error, "sqlite_errorname", "")
        remedy = next((REMEDIES[known] for known in REMEDIES if name.startswith(known)), None)
        return cls(f"Cannot use the database {path}: {error}" + (f". {remedy}" if remedy else ""))


class LostFileError(sqlite3.OperationalError):
    """The file was moved, replaced or deleted while it was open. SQLite does not notice that."""


class Database(sqlite3.Connection):
    """A connection that notices if its file is moved, replaced or deleted.

    Args:
        path: the file, or `:memory:`.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path, timeout=1, autocommit=True)
        self.row_factory = sqlite3.Row
        self.path = path
        self._files: dict[str, tuple[int, int]] = {}
        self._log: int | None = None

    def sync(self) -> None:
        """Wait until all commits are on disk.

        A commit itself does not wait. Until the next `sync`, a power failure can undo it, but a
        crash of this process cannot.

        Raises:
            sqlite3.OperationalError: the disk failed. Do not commit again after this: the system
                may have lost commits, and SQLite could move them to the file nevertheless.
        """
        if self._log is None:
            return
        try:
            _flush(self._log)
        except OSError as e:
            error = sqlite3.OperationalError(f"disk I/O error: {e.strerror}")
            error.sqlite_errorname = "SQLITE_IOERR_FSYNC"
            raise error from e

    def keep_log(self) -> None:
        """Leave the log as it is when this connection is closed.

        The next connection then uses the part of the log that is intact.
        """
        self.setconfig(sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, True)

    @override
    def close(self) -> None:
        super().close()
        if self._log is not None:
            os.close(self._log)
            self._log = None

    def remember_files(self) -> None:
        """Remember which files are open, for `sync` and `check_files`."""
        if self.path != ":memory:":
            log = f"{os.path.realpath(self.path)}-wal"  # SQLite follows links too
            self._log = os.open(log, os.O_RDWR)
            self._files = {name: _identity(name) for name in (self.path, log)}

    def check_files(self) -> None:
        """Check that the open files are still the ones at the path.

        Raises:
            LostFileError: the database or its log was moved, replaced or deleted.
        """
        for name, known in self._files.items():
            try:
                found = _identity(name)
            except OSError:
                found = None
            if found != known:
                # If only one of the two files was moved, it would be incomplete without the other.
                self.execute("PRAGMA wal_checkpoint")
                raise LostFileError(
                    f"{self.path} or its log was moved, replaced or deleted while devserver was "
                    "using it. The original file has all acknowledged data, if it still exists."
                )


def open_database(path: str) -> Database:
    """Open the file. Create it if it does not exist.

    Args:
        path: the file, or `:memory:`. Until the connection is closed, no other process can open
            the file.

    Raises:
        DatabaseError: the file is in use, is not a database, or belongs to another program.
    """
    db: Database | None = None
    try:
        db = Database(path)
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        # Check before the first write: the journal mode already changes the file.
        _check_owner(db)
        # A commit writes whole pages to the log, even if only a few rows in them have changed, so
        # small pages cost less. SQLite ignores this for a file that already has pages.
        db.execute("PRAGMA page_size = 2048")
        db.execute("PRAGMA journal_mode = WAL")
        # SQLite waits for the disk only when it moves commits from the log to the file.
        # `Database.sync` waits for the log.
        db.execute("PRAGMA synchronous = NORMAL")
        # On macOS, fsync leaves the data in the disk's cache. Other systems ignore this.
        db.execute("PRAGMA checkpoint_fullfsync = ON")
        with transaction(db):
            _create_tables(db)
        db.remember_files()
    except (sqlite3.Error, OSError) as e:
        if db is not None:
            db.close()
        if isinstance(e, sqlite3.Error):
            raise DatabaseError.of(path, e) from e
        raise DatabaseError(f"Cannot use the database {path}: {e}") from e
    return db


def _flush(file: int) -> None:
    """Wait until everything that was written to an open file is on disk."""
    if sys.platform == "darwin":
        try:
            fcntl.fcntl(file, fcntl.F_FULLFSYNC)
        except OSError:  # not every file system supports it
            os.fsync(file)
    else:
        os.fdatasync(file)


def _identity(name: str) -> tuple[int, int]:
    status = os.stat(name)  # noqa: PTH116 - runs in each commit, where pathlib costs more
    return status.st_dev, status.st_ino


def _check_owner(db: sqlite3.Connection) -> None:
    (tables,) = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    (owner,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if tables and (owner, version) != (APPLICATION_ID, SCHEMA_VERSION):
        raise sqlite3.DatabaseError(
            "it belongs to another program or version. Choose another file with --db."
        )


def _create_tables(db: sqlite3.Connection) -> None:
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    # Not `executescript`, which commits before it begins.
    for statement in SCHEMA.read_text(encoding="utf-8").split(";\n"):
        db.execute(statement)


@contextmanager
def transaction(db: Database) -> Iterator[None]:
    """Commit what the block does, or undo it if the block raises.

    The commit is on disk after the next `Database.sync`.
    """
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
