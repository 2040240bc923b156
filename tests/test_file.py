"""The database file: deleted or replaced while the server runs, backed up, and restored."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from cluster import ROOT, Cluster
from devserver.store import promises
from devserver.store.database import LostFileError, open_database
from tests.api import FAR

if TYPE_CHECKING:
    from collections.abc import Callable


def database_of(cluster: Cluster) -> Path:
    line = next(line for line in cluster.server.output if line.startswith("Data in "))
    return Path(line.removeprefix("Data in "))


def log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def ids_in(path: Path) -> set[str]:
    with closing(open_database(str(path))) as db:
        return {row["id"] for row in db.execute("SELECT id FROM promises")}


def delete(path: Path) -> None:
    path.unlink()
    log_of(path).unlink()


def delete_the_log(path: Path) -> None:
    log_of(path).unlink()


def replace(path: Path) -> None:
    other = path.with_name("other.db")
    open_database(str(other)).close()
    other.replace(path)


def notice_by_a_request(cluster: Cluster) -> None:
    answer = httpx.post(f"{cluster.url}/promises", json={"id": "late", "timeout": FAR})
    assert answer.status_code == 500
    assert "was deleted or replaced" in answer.text


def notice_by_a_read(cluster: Cluster) -> None:
    assert httpx.get(f"{cluster.url}/promises/kept").status_code == 500


def notice_by_the_clock(_: Cluster) -> None:
    """Send no request: the clock times out a promise."""


def notice_at_the_end(cluster: Cluster) -> None:
    cluster.server.send_signal(15)


@pytest.mark.parametrize("harm", [delete, delete_the_log, replace])
@pytest.mark.parametrize(
    "notice", [notice_by_a_request, notice_by_a_read, notice_by_the_clock, notice_at_the_end]
)
def test_a_lost_file_stops_the_server_and_its_content_is_saved(
    harm: Callable[[Path], None], notice: Callable[[Cluster], None]
) -> None:
    with Cluster() as cluster:
        path = database_of(cluster)
        timeout = int(time.time() * 1000) + 1_000 if notice is notice_by_the_clock else FAR
        for promise_id, end in (("kept", FAR), ("ends", timeout)):
            body = {"id": promise_id, "timeout": end}
            assert httpx.post(f"{cluster.url}/promises", json=body).status_code == 201
        harm(path)
        notice(cluster)
        assert cluster.server.wait() == 1
        lost, saved = cluster.server.errors
        assert "was deleted or replaced while devserver was using it" in lost
        assert not any("devserver stopped" in line for line in cluster.server.output)
        (rescued,) = path.parent.glob("devserver.db.rescued-*")
        assert str(rescued) in saved
        assert {"kept", "ends"} <= ids_in(rescued)


def test_a_lost_folder_is_two_plain_lines() -> None:
    with Cluster() as cluster:
        path = database_of(cluster)
        folder = path.parent
        hidden = folder.with_name(f"{folder.name}-hidden")
        folder.rename(hidden)
        try:
            cluster.server.send_signal(15)
            assert cluster.server.wait() == 1
        finally:
            hidden.rename(folder)
        assert len(cluster.server.errors) == 2
        assert "it could not be saved" in cluster.server.errors[1]


def test_a_lost_file_leaves_the_next_server_alone() -> None:
    """The next server opens the same path before the first one has noticed anything."""
    with Cluster() as cluster:
        path = database_of(cluster)
        delete(path)
        with closing(open_database(str(path))) as db:
            db.execute(
                """INSERT INTO promises (id, state, timeout, param_headers, param_data, tags,
                                         created_on)
                   VALUES ('new', 'PENDING', 4000000000000, '{}', x'', '{}', 0)"""
            )
            cluster.server.send_signal(15)
            assert cluster.server.wait() == 1
            assert log_of(path).exists()
            assert promises.get(db, "new", 0).id == "new"
        assert ids_in(path) == {"new"}


def test_the_path_may_be_a_link(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    link = tmp_path / "link.db"
    link.symlink_to(folder / "x.db")
    with closing(open_database(str(link))) as db:
        db.sync()
        db.check_files()
        assert log_of(folder / "x.db").exists()
        log_of(folder / "x.db").unlink()
        with pytest.raises(LostFileError):
            db.check_files()


def test_sqlite_waits_for_the_disk_when_it_moves_the_log_to_the_file(tmp_path: Path) -> None:
    with closing(open_database(str(tmp_path / "x.db"))) as db:
        for pragma in ("synchronous", "checkpoint_fullfsync"):
            (found,) = db.execute(f"PRAGMA {pragma}").fetchone()
            assert found == 1, pragma


# Backups


def back_up(cluster: Cluster, target: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `--backup` as for the cluster's server, with more arguments."""
    port = cluster.url.rpartition(":")[2]
    database = str(database_of(cluster))
    command = [sys.executable, "-m", "devserver", "--port", port, "--db", database]
    return subprocess.run(
        [*command, "--backup", str(target), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def create(cluster: Cluster, promise_id: str) -> None:
    body = {"id": promise_id, "timeout": FAR}
    assert httpx.post(f"{cluster.url}/promises", json=body).status_code == 201


def test_a_backup_of_a_running_server_can_be_restored(tmp_path: Path) -> None:
    backup = tmp_path / "backup.db"
    with Cluster() as cluster:
        create(cluster, "before")
        done = back_up(cluster, backup)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"Wrote {backup}\n", "")
        create(cluster, "after")
        # A kill leaves a log, which SQLite would apply to the restored file.
        cluster.server.kill()
        path = database_of(cluster)
        assert log_of(path).exists()
        delete(path)
        path.write_bytes(backup.read_bytes())
        cluster.start_server()
        assert httpx.get(f"{cluster.url}/promises/before").status_code == 200
        assert httpx.get(f"{cluster.url}/promises/after").status_code == 404


def test_a_backup_has_all_data_that_a_killed_server_acknowledged(tmp_path: Path) -> None:
    with Cluster() as cluster:
        create(cluster, "kept")
        cluster.server.kill()
        assert back_up(cluster, tmp_path / "backup.db").returncode == 0
    assert ids_in(tmp_path / "backup.db") == {"kept"}


def test_a_failed_backup_is_one_plain_line(tmp_path: Path) -> None:
    existing, new = tmp_path / "existing", tmp_path / "new"
    existing.write_text("my notes")
    with Cluster() as cluster, Cluster() as other:
        other_port = other.url.rpartition(":")[2]
        for target, arguments, reason in [
            (existing, (), "File exists"),
            (new, ("--port", other_port), "that server uses another file"),
            (new, ("--port", "1"), "it is in use, but not by the server at"),
            (new, ("--db", str(tmp_path / "nothing.db")), "it does not exist"),
            (tmp_path / "no" / "folder", (), "No such file or directory"),
        ]:
            done = back_up(cluster, target, *arguments)
            assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
            assert reason in done.stderr
    assert existing.read_text() == "my notes"
    assert [path.name for path in tmp_path.iterdir()] == ["existing"]
