"""The devserver as a program: its output, its exit, and its data."""

from __future__ import annotations

import os
import signal
import socket
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from demo.cluster import ROOT, Cluster, free_ports
from demo.processes import Process
from devserver.store.database import open_database
from tests.api import FAR, complete, create, invoke
from tests.listener import Listener
from tests.programs import run, start
from tests.tracing import needs_strace

if TYPE_CHECKING:
    from pathlib import Path

ANY_PORTS = ("--port", "0", "--poll-port", "0")


def refused(folder: Path, *arguments: str) -> str:
    """Run a devserver that fails to start, and return the one line that it prints."""
    server = run("-m", "devserver", *ANY_PORTS, *arguments, cwd=folder)
    assert (server.wait(), server.output) == (1, [])
    (error,) = server.errors
    return error


def test_says_where_it_listens_and_where_its_data_is(tmp_path: Path) -> None:
    port, poll_port = free_ports(2)
    ports = ("--port", str(port), "--poll-port", str(poll_port))
    with start("-m", "devserver", *ports, cwd=tmp_path) as server:
        server.wait_for("Watch it")
        server.send_signal(signal.SIGINT)
        assert server.wait() == 0
    assert server.output == [
        f"Resonate API on http://127.0.0.1:{port}, messages on http://127.0.0.1:{poll_port}",
        f"Data in {tmp_path / 'devserver.db'}",
        f"Watch it at http://localhost:{port}/",
        "devserver stopped",
    ]
    assert server.errors == []
    assert [path.name for path in tmp_path.iterdir()] == ["devserver.db"]


def test_in_memory_it_writes_no_file(tmp_path: Path) -> None:
    with start("-m", "devserver", "--memory", *ANY_PORTS, cwd=tmp_path) as server:
        server.wait_for("Watch it")
        url = server.output[0].split(",")[0].removeprefix("Resonate API on ")
        with httpx.Client(base_url=url) as api:
            create(api, "p")
        server.send_signal(signal.SIGTERM)
        assert server.wait() == 0
    assert server.output[1:] == [
        "Data in memory only. It is lost when the server stops.",
        f"Watch it at {url.replace('127.0.0.1', 'localhost')}/",
        "devserver stopped",
    ]
    assert server.errors == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stops_while_a_process_listens(number: int) -> None:
    with Cluster() as cluster, Listener(cluster.poll_url, "group", "me") as me:
        cluster.server.send_signal(number)
        assert me.next() is None
        assert cluster.server.wait() == 0
        assert cluster.server.errors == []


def test_keeps_acknowledged_data_when_it_is_killed() -> None:
    with Cluster() as cluster, httpx.Client(base_url=cluster.url) as api:
        promises = []
        for i in range(50):
            create(api, f"p{i}")
            promises.append(complete(api, f"p{i}", value="42"))
        cluster.server.kill()
        cluster.start_server()
        assert [api.get(f"/promises/p{i}").json() for i in range(50)] == promises
        assert promises[49]["state"] == "RESOLVED"


def test_keeps_undelivered_messages_when_it_is_killed() -> None:
    with Cluster() as cluster, httpx.Client(base_url=cluster.url) as api:
        invoke(api, "p", "poll://any@group")
        cluster.server.kill()
        cluster.start_server()
        with Listener(cluster.poll_url, "group", "me") as me:
            assert me.next_task() == ("__invoke:p", 1)


# Errors


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert refused(tmp_path, "--port", str(port)) == (
            f"devserver: Cannot listen on 127.0.0.1:{port}: Address already in use. "
            "Use --port and --poll-port to choose others."
        )


def test_a_file_that_is_not_a_database(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("my notes")
    assert refused(tmp_path, "--db", str(path)) == (
        f"devserver: Cannot use the database {path}: file is not a database. "
        "Choose another file with --db."
    )
    assert path.read_text() == "my notes"


def test_a_read_only_folder(tmp_path: Path) -> None:
    # Permissions would not stop root, but root cannot create a file in /proc either.
    assert refused(tmp_path, "--db", "/proc/x.db") == (
        "devserver: Cannot use the database /proc/x.db: unable to open database file. "
        "Choose another file with --db."
    )


def test_a_second_server_on_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with closing(open_database(str(path))):
        assert refused(tmp_path, "--db", str(path)) == (
            f"devserver: Cannot use the database {path}: database is locked. "
            "Another devserver is using it. Stop that one, or use another file with --db."
        )


def test_a_damaged_file_is_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    open_database(str(path)).close()
    content = path.read_bytes()[:4096] + b"damage" * 1000
    path.write_bytes(content)
    assert str(path) in refused(tmp_path, "--db", str(path))
    assert path.read_bytes() == content


def use_until_it_fails(server: Process, folder: Path, arguments: list[str], **fields: Any) -> str:
    """Create promises until the server stops, and check that a new server has all of them.

    Args:
        server: a devserver whose disk will fail.
        folder: the folder that it runs in.
        arguments: its command line: `devserver`, and its two ports.
        fields: other fields of each promise.

    Returns:
        The server's error message.
    """
    server.wait_for("Watch it")
    with httpx.Client(base_url=f"http://127.0.0.1:{arguments[2]}") as api:
        acknowledged = []
        for i in range(1000):
            response = api.post("/promises", json={"id": f"p{i}", "timeout": FAR, **fields})
            if response.status_code == 500:
                break
            acknowledged.append(response.json())
        assert response.json()["error"]["code"] == 50004
        assert server.wait() == 1
        failure, promise = server.errors
        assert promise == "devserver stopped. All acknowledged data is safe."
        assert acknowledged
        with start("-m", *arguments, cwd=folder) as again:
            again.wait_for("Watch it")
            assert [api.get(f"/promises/{p['id']}").json() for p in acknowledged] == acknowledged
    return failure


def test_a_full_disk_stops_the_server_and_loses_nothing(tmp_path: Path) -> None:
    port, poll_port = map(str, free_ports(2))
    arguments = ["devserver", "--port", port, "--poll-port", poll_port]
    # To SQLite, a file that cannot grow is the same as a full disk.
    limited = f"""
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
sys.argv = {arguments}
runpy.run_module("devserver", run_name="__main__", alter_sys=True)
"""
    with start("-c", limited, cwd=tmp_path) as server:
        failure = use_until_it_fails(server, tmp_path, arguments, param={"data": "A" * 10_000})
    path = tmp_path / "devserver.db"
    assert failure.startswith(f"devserver: Cannot use the database {path}: ")


@needs_strace
def test_a_failing_disk_stops_the_server_and_loses_nothing(tmp_path: Path) -> None:
    port, poll_port = map(str, free_ports(2))
    arguments = ["devserver", "--port", port, "--poll-port", poll_port]
    command = ["strace", "-qq", "-o", "/dev/null", "-e", "inject=fdatasync:error=EIO:when=20+"]
    command += [sys.executable, "-m", *arguments]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    with Process("server", command, env=env, cwd=tmp_path) as server:
        failure = use_until_it_fails(server, tmp_path, arguments)
    assert failure == (
        f"devserver: Cannot use the database {tmp_path / 'devserver.db'}: "
        "disk I/O error: Input/output error. Check the disk and start again."
    )


@pytest.mark.parametrize("program", ["devserver", "demo"])
def test_the_message_for_windows_names_wsl(program: str, tmp_path: Path) -> None:
    # Modules that Python does not have on Windows.
    missing = "fcntl", "pty", "pwd", "resource", "termios", "tty"
    simulation = f"""
import runpy, sys
sys.modules.update(dict.fromkeys({missing}))
sys.platform = "win32"
runpy.run_module({program!r}, run_name="__main__", alter_sys=True)
"""
    server = run("-c", simulation, cwd=tmp_path)
    assert server.wait() == 1
    assert server.errors == [f"{program}: This runs on Linux and macOS. On Windows, run it in WSL."]


# The password


def test_other_machines_need_a_password(tmp_path: Path) -> None:
    assert refused(tmp_path, "--host", "0.0.0.0") == (  # noqa: S104
        "devserver: Not listening on 0.0.0.0 without a password, because other machines could "
        "reach the data. Use --username and --password."
    )


def test_a_name_without_a_password_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, "--username", "me") == (
        "devserver: Use --username and --password together"
    )


def test_with_a_password_everything_but_ping_asks_for_it() -> None:
    user = ("mé", "s:crét")
    options = ["--username", user[0], "--password", user[1]]
    with Cluster(options=options) as cluster:
        paths = ["/promises?id=*", "/", "/page.css", "/page.js", "/watch"]
        for url in [f"{cluster.poll_url}/group/me", *(cluster.url + path for path in paths)]:
            for auth in (None, ("mé", "wrong"), ("", "")):
                response = httpx.get(url, auth=auth)
                assert response.status_code == 401
                assert response.headers["www-authenticate"].startswith("Basic ")
                assert response.json()["error"]["code"] == 40100
            for odd in ("Basic", "Basic !!!", "Bearer x", "basic bcO2"):
                assert httpx.get(url, headers={"authorization": odd}).status_code == 401
            good = httpx.BasicAuth(*(text.encode() for text in user))
            with httpx.stream("GET", url, auth=good) as response:
                assert response.status_code == 200
        assert httpx.get(f"{cluster.url}/ping").status_code == 200
