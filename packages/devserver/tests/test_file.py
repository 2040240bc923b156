"""The database file: moved, replaced or deleted while the server runs, and on a failing disk."""

from __future__ import annotations

import signal
from contextlib import closing
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from devserver.store.database import LostFileError, open_database
from tests.api import FAR, create
from tests.programs import Server
from tests.tracing import needs_strace

if TYPE_CHECKING:
    from pathlib import Path


def log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def harm(path: Path, how: str) -> Path:
    """Move, replace or delete the file. Returns where the file is now."""
    match how:
        case "move":
            return path.rename(path.with_name("moved.db"))
        case "replace":
            other = path.with_name("other.db")
            open_database(str(other)).close()
            other.replace(path)
        case "delete the log":
            log_of(path).unlink()
        case "delete":
            path.unlink()
            log_of(path).unlink()
    return path


@pytest.mark.parametrize("how", ["move", "replace", "delete the log", "delete"])
def test_a_request_notices_a_lost_file_and_the_data_is_kept(how: str) -> None:
    with Server() as server, httpx.Client(base_url=server.url) as api:
        create(api, "kept")
        place = harm(server.db, how)
        answer = api.post("/promises", json={"id": "late", "timeout": FAR})
        assert answer.status_code == 500
        assert "was moved, replaced or deleted" in answer.text
        assert server.process.wait() == 1
        (error,) = server.process.errors
        assert error == (
            f"devserver: {server.db} or its log was moved, replaced or deleted while devserver was "
            "using it. The original file has all acknowledged data, if it still exists."
        )
        assert "devserver stopped" not in server.process.output
        if how in {"move", "delete the log"}:
            with closing(open_database(str(place))) as db:
                assert db.execute("SELECT * FROM promises WHERE id = 'kept'").fetchone()


def test_the_end_of_the_server_leaves_the_next_server_alone() -> None:
    """The next server opens the same path before the first one has noticed anything."""
    with Server() as server:
        harm(server.db, "delete")
        with closing(open_database(str(server.db))) as db:
            db.execute("CREATE TABLE theirs (x)")
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait() == 1
            assert server.process.printed("was moved, replaced or deleted")
            assert log_of(server.db).exists()
        with closing(open_database(str(server.db))) as db:
            assert db.execute("SELECT * FROM theirs").fetchall() == []


def test_the_path_may_be_a_link(tmp_path: Path) -> None:
    file, link = tmp_path / "x.db", tmp_path / "link.db"
    link.symlink_to(file)
    with closing(open_database(str(link))) as db:
        db.sync()
        db.check_files()
        log_of(file).unlink()
        with pytest.raises(LostFileError):
            db.check_files()


def test_sqlite_waits_for_the_disk_when_it_moves_the_log_to_the_file(tmp_path: Path) -> None:
    with closing(open_database(str(tmp_path / "x.db"))) as db:
        for pragma in ("synchronous", "checkpoint_fullfsync"):
            (found,) = db.execute(f"PRAGMA {pragma}").fetchone()
            assert found == 1, pragma


@pytest.mark.parametrize(
    ("below", "size", "error"),
    [
        # To SQLite, a file that cannot grow is the same as a full disk.
        pytest.param(["sh", "-c", 'ulimit -f 2000; exec "$@"', "sh"], 10_000, "", id="full"),
        pytest.param(
            ["strace", "-qq", "-o", "/dev/null", "-e", "inject=fdatasync:error=EIO:when=20+"],
            4,
            "disk I/O error: Input/output error. Check the disk and start again.",
            id="failing",
            marks=needs_strace,
        ),
    ],
)
def test_a_disk_that_fails_stops_the_server_and_loses_nothing(
    below: list[str], size: int, error: str
) -> None:
    with Server(below=below) as server, httpx.Client(base_url=server.url) as api:
        acknowledged: list[dict[str, Any]] = []
        body = {"timeout": FAR, "param": {"data": "A" * size}}
        while (
            response := api.post("/promises", json=body | {"id": f"p{len(acknowledged)}"})
        ).is_success:
            acknowledged.append(response.json())
        assert acknowledged
        assert response.json()["error"]["code"] == 50004
        assert server.process.wait() == 1
        failure, promise = server.process.errors
        assert failure.startswith(f"devserver: Cannot use the database {server.db}: {error}")
        assert promise == "devserver stopped. All acknowledged data is safe."
        server.below = []
        server.start()
        assert [api.get(f"/promises/{p['id']}").json() for p in acknowledged] == acknowledged
