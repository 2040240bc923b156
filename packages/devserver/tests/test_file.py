"""The database file: moved, replaced or deleted while the server runs."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import httpx
import pytest

from devserver.store.database import LostFileError, open_database
from tests.api import FAR, create
from tests.programs import Server


def database_of(server: Server) -> Path:
    line = next(line for line in server.process.output if line.startswith("Data in "))
    return Path(line.removeprefix("Data in "))


def log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def ids_in(path: Path) -> set[str]:
    with closing(open_database(str(path))) as db:
        return {row["id"] for row in db.execute("SELECT id FROM promises")}


def harm(path: Path, how: str) -> Path | None:
    """Move, replace or delete the file. Returns where it is now, if it still exists."""
    match how:
        case "move the folder":
            folder = path.parent / "moved"
            folder.mkdir()
            log_of(path).rename(folder / log_of(path).name)
            return path.rename(folder / path.name)
        case "move the file":
            return path.rename(path.with_name("moved.db"))
        case "replace":
            other = path.with_name("other.db")
            open_database(str(other)).close()
            other.replace(path)
        case "delete the log":
            log_of(path).unlink()
            return path
        case _:
            path.unlink()
            log_of(path).unlink()
    return None


@pytest.mark.parametrize(
    ("how", "noticed_by"),
    [
        *((how, "a request") for how in ("move the folder", "move the file", "delete the log")),
        *((how, "a request") for how in ("replace", "delete")),
        *((how, "the end") for how in ("move the folder", "move the file", "delete")),
    ],
)
def test_a_lost_file_stops_the_server_and_keeps_the_data(how: str, noticed_by: str) -> None:
    with Server() as server, httpx.Client(base_url=server.url) as api:
        create(api, "kept")
        path = database_of(server)
        place = harm(path, how)
        if noticed_by == "a request":
            answer = api.post("/promises", json={"id": "late", "timeout": FAR})
            assert answer.status_code == 500
            assert "was moved, replaced or deleted" in answer.text
        else:
            server.process.send_signal(15)
        assert server.process.wait() == 1
        (error,) = server.process.errors
        assert error == (
            f"devserver: {path} or its log was moved, replaced or deleted while devserver was "
            "using it. The original file has all acknowledged data, if it still exists."
        )
        assert "devserver stopped" not in server.process.output
        if place is not None:
            assert "kept" in ids_in(place)


def test_a_lost_file_leaves_the_next_server_alone() -> None:
    """The next server opens the same path before the first one has noticed anything."""
    with Server() as server:
        path = database_of(server)
        harm(path, "delete")
        with closing(open_database(str(path))) as db:
            db.execute("CREATE TABLE theirs (x)")
            server.process.send_signal(15)
            assert server.process.wait() == 1
            assert log_of(path).exists()
        with closing(open_database(str(path))) as db:
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
