"""The devserver as a program: its output, its exit, and its data."""

from __future__ import annotations

import signal
import socket
from contextlib import closing
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from devserver.store.database import open_database
from tests.api import FAR, create
from tests.listener import Listener
from tests.programs import Server, free_ports, run, start
from tests.tracing import needs_strace

if TYPE_CHECKING:
    from pathlib import Path

    from tests.programs import Program

try:
    with socket.create_server(("::1", 0), family=socket.AF_INET6):
        HAS_IPV6 = True
except OSError:
    HAS_IPV6 = False


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


@pytest.mark.skipif(not HAS_IPV6, reason="this machine has no IPv6 loopback address")
def test_both_loopback_addresses_are_this_server(devserver: Server) -> None:
    for host in ("127.0.0.1", "[::1]"):
        assert httpx.get(f"http://{host}:{devserver.port}/promises?id=*").status_code == 200
        with Listener(f"http://{host}:{devserver.poll_port}", "group", host):
            pass
        for port in (devserver.port, devserver.poll_port):
            url = f"http://{host}:{port}/group/me"
            assert httpx.get(url, headers={"host": "evil.test"}).status_code == 403


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (
            "--port {taken}",
            "Cannot listen on 127.0.0.1:{taken}: Address already in use. Use --port",
        ),
        ("--db {notes}", "Cannot use the database {notes}: file is not a database. Choose"),
        ("--db {damaged}", "Cannot use the database {damaged}: database disk image is malformed."),
        # Permissions would not stop root, but root cannot create a file in /proc either.
        ("--db /proc/x.db", "Cannot use the database /proc/x.db: unable to open database file."),
        ("--db {used}", "Cannot use the database {used}: database is locked. Another devserver"),
        ("--host 0.0.0.0", "Not listening on 0.0.0.0 without a password, because other machines"),
        ("--username me", "Use --username and --password together"),
    ],
)
def test_a_failed_start_is_one_plain_line(tmp_path: Path, arguments: str, error: str) -> None:
    notes, used, damaged = (tmp_path / name for name in ("notes", "used.db", "damaged.db"))
    notes.write_text("my notes")
    open_database(str(damaged)).close()
    damage = damaged.read_bytes()[:4096] + b"damage" * 1000
    damaged.write_bytes(damage)
    with socket.create_server(("127.0.0.1", 0)) as taken, closing(open_database(str(used))):
        port = taken.getsockname()[1]
        names = {"taken": port, "notes": notes, "used": used, "damaged": damaged}
        options = f"--port 0 --poll-port 0 {arguments}".format(**names).split()
        server = run("-m", "devserver", *options, cwd=tmp_path)
    assert (server.wait(), server.output, len(server.errors)) == (1, [], 1)
    assert server.errors[0].startswith("devserver: " + error.format(**names))
    assert (notes.read_text(), damaged.read_bytes()) == ("my notes", damage)


def use_until_it_fails(server: Program, folder: Path, ports: list[str], **fields: Any) -> str:
    """Create promises until the disk fails, and check that a new server has all of them.

    Returns:
        The server's error message.
    """
    server.wait_for("Watch it")
    with httpx.Client(base_url=f"http://127.0.0.1:{ports[1]}") as api:
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
        with start("-m", "devserver", *ports, cwd=folder) as again:
            again.wait_for("Watch it")
            assert [api.get(f"/promises/{p['id']}").json() for p in acknowledged] == acknowledged
    return failure


def test_a_full_disk_stops_the_server_and_loses_nothing(tmp_path: Path, ports: list[str]) -> None:
    # To SQLite, a file that cannot grow is the same as a full disk.
    limited = f"""
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
os.execv(sys.executable, [sys.executable, "-m", "devserver", *{ports}])
"""
    with start("-c", limited, cwd=tmp_path) as server:
        failure = use_until_it_fails(server, tmp_path, ports, param={"data": "A" * 10_000})
    path = tmp_path / "devserver.db"
    assert failure.startswith(f"devserver: Cannot use the database {path}: ")


@needs_strace
def test_a_failing_disk_stops_the_server_and_loses_nothing(
    tmp_path: Path, ports: list[str]
) -> None:
    failing = f"""
import os, sys
os.execvp("strace", "strace -qq -o /dev/null -e inject=fdatasync:error=EIO:when=20+".split()
          + [sys.executable, "-m", "devserver", *{ports}])
"""
    with start("-c", failing, cwd=tmp_path) as server:
        failure = use_until_it_fails(server, tmp_path, ports)
    assert failure == (
        f"devserver: Cannot use the database {tmp_path / 'devserver.db'}: "
        "disk I/O error: Input/output error. Check the disk and start again."
    )


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
