"""`--backup FILE`: a copy of all data, even while the server is running.

A running server locks its file, so that other processes cannot read half of a commit or block the
server. So the program gets the copy from the server, with `GET /backup` on the API port.
"""

from __future__ import annotations

import base64
import os
import shutil
import sqlite3
from contextlib import closing, suppress
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import ProxyHandler, Request, build_opener

from starlette.background import BackgroundTask
from starlette.responses import FileResponse, PlainTextResponse

from devserver.store.database import DatabaseError, open_database

if TYPE_CHECKING:
    from starlette.requests import Request as HttpRequest
    from starlette.responses import Response

    from devserver.store.database import Database

# How long the server may take to start its answer (seconds). It writes the copy first.
PATIENCE = 600.0


class Backup:
    """Answers `GET /backup?db=PATH` of a running server.

    Args:
        db: the database. The answer is 404 if its file is not the one at PATH.
    """

    def __init__(self, db: Database) -> None:
        self._db = db

    async def respond(self, request: HttpRequest) -> Response:
        """Answer with a copy of the database. Other requests wait while the server writes it."""
        if request.query_params.get("db") != self._db.path:
            return PlainTextResponse("this server has another database\n", 404)
        folder = TemporaryDirectory(prefix="devserver-")
        copy = Path(folder.name) / "copy.db"
        # Between two requests, no transaction is open, so the copy contains only complete commits.
        self._db.execute("VACUUM INTO ?", (str(copy),))
        return FileResponse(copy, background=BackgroundTask(folder.cleanup))


def back_up(path: str, target: Path, url: str, auth: tuple[str, str] | None) -> None:
    """Write a copy of a database to a new file.

    Args:
        path: the database, or `:memory:`.
        target: the new file. It must not exist.
        url: the API of the server that may be using the database.
        auth: that server's user name and password.

    Raises:
        DatabaseError: the copy failed. The incomplete file was deleted.
    """
    if path != ":memory:" and not Path(path).exists():
        raise DatabaseError(f"Cannot back up {path}: it does not exist")
    try:
        with target.open("xb"):
            pass
    except OSError as e:
        raise DatabaseError(f"Cannot write the backup {target}: {e.strerror}") from e
    try:
        if path == ":memory:" or not _copy(path, target):
            _download(path, target, url, auth)
        with target.open("rb") as file:
            os.fsync(file.fileno())
    except BaseException:
        with suppress(OSError):
            target.unlink()
        raise


def _copy(path: str, target: Path) -> bool:
    """Copy the file, unless a server is using it. Returns False if one is."""
    try:
        with closing(open_database(path)) as db:
            db.execute("VACUUM INTO ?", (str(target),))
    except DatabaseError as e:
        if getattr(e.__cause__, "sqlite_errorname", "") == "SQLITE_BUSY":
            return False
        raise
    except sqlite3.Error as e:
        raise DatabaseError(f"Cannot write the backup {target}: {e}") from e
    return True


def _download(path: str, target: Path, url: str, auth: tuple[str, str] | None) -> None:
    request = Request(f"{url}/backup?db={quote(path)}")  # noqa: S310 - always HTTP
    if auth is not None:
        credentials = base64.b64encode(":".join(auth).encode()).decode()
        request.add_header("authorization", f"Basic {credentials}")
    other_port = "Use the --port of the server that is using the file"
    try:
        opener = build_opener(ProxyHandler({}))
        with opener.open(request, timeout=PATIENCE) as answer, target.open("wb") as file:
            shutil.copyfileobj(answer, file)
            if file.tell() != int(answer.headers["content-length"]):
                raise DatabaseError(f"Cannot back up {path}: the server at {url} stopped")
    except HTTPError as e:
        reason = {
            HTTPStatus.UNAUTHORIZED: "wrong user name or password",
            HTTPStatus.NOT_FOUND: f"that server uses another file. {other_port}",
        }.get(HTTPStatus(e.code), f"{e.code} {e.read(300).decode(errors='replace')}")
        raise DatabaseError(f"Cannot back up {path} from the server at {url}: {reason}") from e
    except URLError as e:
        raise DatabaseError(
            f"Cannot back up {path}: it is in use, but not by the server at {url}. {other_port}"
        ) from e
    except OSError as e:
        raise DatabaseError(f"Cannot write the backup {target}: {e}") from e
