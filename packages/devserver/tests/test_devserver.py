"""The devserver as a program: its output, its options, and its end."""

from __future__ import annotations

import signal
import socket
import sqlite3
import sys
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import httpx
import pytest

from devserver.store.database import open_database
from tests.api import create
from tests.listener import Listener
from tests.programs import Program, Server, free_ports, run, start

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def ports() -> list[str]:
    port, poll_port = free_ports(2)
    return ["--port", str(port), "--poll-port", str(poll_port)]


def test_says_where_it_listens_and_where_its_data_is(tmp_path: Path, ports: list[str]) -> None:
    folder = tmp_path / "d\u00e4t\u00e4"
    folder.mkdir()
    ascii_only = {"PYTHONIOENCODING": "ascii"}
    with start("-m", "devserver", *ports, cwd=folder, env=ascii_only) as server:
        server.wait_for("Watch it")
        files = sorted(folder.iterdir())
        assert [file.name for file in files] == ["devserver.db", "devserver.db-wal"]
        assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
        server.send_signal(signal.SIGINT)
        assert server.wait() == 0
    assert server.output == [
        f"Resonate API on http://127.0.0.1:{ports[1]}, messages on http://127.0.0.1:{ports[3]}",
        f"Data in {tmp_path / 'd'}\\xe4t\\xe4/devserver.db",
        f"Watch it at http://localhost:{ports[1]}/",
        "devserver stopped",
    ]
    assert server.errors == []
    assert [path.name for path in folder.iterdir()] == ["devserver.db"]


def test_in_memory_it_writes_no_file(tmp_path: Path, ports: list[str]) -> None:
    with start("-m", "devserver", "--memory", *ports, cwd=tmp_path) as server:
        server.wait_for("Watch it")
        with httpx.Client(base_url=f"http://localhost:{ports[1]}") as api:
            create(api, "p")
        # It stops although a process listens.
        with Listener(f"http://localhost:{ports[3]}", "group", "me") as me:
            server.send_signal(signal.SIGTERM)
            assert me.next() is None
        assert server.wait() == 0
    assert server.output[1] == "Data in memory only. It is lost when the server stops."
    assert server.errors == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("redirection", [">/dev/full", ">&- 2>&-"])
def test_it_serves_without_a_usable_stdout(
    redirection: str, tmp_path: Path, ports: list[str]
) -> None:
    command = f'exec "{sys.executable}" -m devserver {" ".join(ports)} {redirection}'
    shell = Program(["sh", "-c", command], cwd=tmp_path)
    with shell, httpx.Client(base_url=f"http://127.0.0.1:{ports[1]}") as api:
        while shell.alive:
            with suppress(httpx.TransportError):
                create(api, "p")
                break
            time.sleep(0.05)  # it cannot say that it serves
        shell.send_signal(signal.SIGINT)
        assert (shell.wait(), shell.errors) == (0, [])


def test_many_signals_are_one_signal_although_a_client_does_not_read() -> None:
    with (
        Server() as server,
        httpx.Client(base_url=server.url, timeout=60) as api,
        socket.socket() as client,
    ):
        create(api, "p", param={"data": "A" * 15_000_000})
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", server.port))
        client.sendall(b"GET /promises/p HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.1 200"
        while server.process.alive:
            server.process.send_signal(signal.SIGINT)
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.001)
        assert server.process.wait() == 0
        assert server.process.output[-1] == "devserver stopped"
        assert server.process.errors == []


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (
            "--port {taken}",
            "Cannot listen on 127.0.0.1:{taken}: Address already in use. Use --port",
        ),
        ("--db {notes}", "Cannot use the database {notes}: file is not a database. Choose"),
        ("--db {theirs}", "Cannot use the database {theirs}: it belongs to another program"),
        ("--db {damaged}", "Cannot use the database {damaged}: database disk image is malformed."),
        # Permissions would not stop root, but root cannot create a file in /proc either.
        ("--db /proc/x.db", "Cannot use the database /proc/x.db: unable to open database file."),
        ("--db {used}", "Cannot use the database {used}: database is locked. Another devserver"),
        ("--host 0.0.0.0", "Not listening on 0.0.0.0 without a password, because other machines"),
        ("--username me", "Use --username and --password together"),
    ],
)
def test_a_failed_start_is_one_plain_line_and_changes_no_file(
    tmp_path: Path, arguments: str, error: str
) -> None:
    names = {name: tmp_path / name for name in ("notes", "theirs", "damaged", "used")}
    names["notes"].write_text("my notes")
    with closing(sqlite3.connect(names["theirs"])) as theirs:
        theirs.execute("CREATE TABLE promises (id)")
    open_database(str(names["damaged"])).close()
    names["damaged"].write_bytes(names["damaged"].read_bytes()[:4096] + b"damage" * 1000)
    content = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        closing(open_database(str(names["used"]))),
    ):
        known = {"taken": taken.getsockname()[1], **names}
        options = f"--port 0 --poll-port 0 {arguments}".format(**known).split()
        server = run("-m", "devserver", *options, cwd=tmp_path)
        assert (server.wait(), server.output, len(server.errors)) == (1, [], 1)
        assert server.errors[0].startswith("devserver: " + error.format(**known))
        assert all(path.read_bytes() == was for path, was in content.items())


def test_the_message_for_windows_names_wsl(tmp_path: Path) -> None:
    # Modules that Python does not have on Windows.
    missing = "fcntl", "pty", "pwd", "resource", "termios", "tty"
    simulation = f"""
import runpy, sys
sys.modules.update(dict.fromkeys({missing}))
sys.platform = "win32"
runpy.run_module("devserver", run_name="__main__", alter_sys=True)
"""
    ended = run("-c", simulation, cwd=tmp_path)
    assert ended.wait() == 1
    assert ended.errors == ["devserver: This runs on Linux and macOS. On Windows, run it in WSL."]


def test_both_loopback_addresses_are_this_server(devserver: Server) -> None:
    try:
        socket.create_connection(("::1", devserver.port)).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback address")
    for host in ("127.0.0.1", "[::1]"):
        assert httpx.get(f"http://{host}:{devserver.port}/promises?id=*").status_code == 200
        with Listener(f"http://{host}:{devserver.poll_port}", "group", host):
            pass
        for port in (devserver.port, devserver.poll_port):
            url = f"http://{host}:{port}/group/me"
            assert httpx.get(url, headers={"host": "evil.test"}).status_code == 403


def test_with_a_password_everything_but_ping_asks_for_it() -> None:
    user = "mé", "s:crét"
    with Server(options=["--username", user[0], "--password", user[1]]) as server:
        paths = ["/promises?id=*", "/", "/page.css", "/watch"]
        for url in [f"{server.poll_url}/group/me", *(server.url + path for path in paths)]:
            for odd in ("", "Basic", "Basic !!!", "Bearer x", "basic bcO2", "Basic bWU6eA=="):
                response = httpx.get(url, headers={"authorization": odd})
                assert response.status_code == 401
                assert response.headers["www-authenticate"].startswith("Basic ")
                assert response.json()["error"]["code"] == 40100
            good = httpx.BasicAuth(*(text.encode() for text in user))
            with httpx.stream("GET", url, auth=good) as response:
                assert response.status_code == 200
        assert httpx.get(f"{server.url}/ping").status_code == 200
