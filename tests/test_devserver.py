"""The devserver as a program: what it prints, how it stops, what it keeps."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import httpx
import pytest

from cluster import ROOT, Cluster, free_ports
from devserver.store.database import open_database
from tests.listener import Listener
from tests.programs import start

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FAR = 4_000_000_000_000


def devserver(
    *arguments: str, cwd: Path, preexec_fn: Callable[[], object] | None = None
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "devserver", *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        preexec_fn=preexec_fn,  # noqa: PLW1509 - it only sets a limit
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_says_where_it_listens_and_where_its_data_is(tmp_path: Path) -> None:
    port, poll_port = free_ports(2)
    server = devserver("--port", str(port), "--poll-port", str(poll_port), cwd=tmp_path)
    assert server.stdout is not None
    assert server.stdout.readline() == (
        f"Resonate API on http://127.0.0.1:{port}, messages on http://127.0.0.1:{poll_port}\n"
    )
    assert server.stdout.readline() == f"Data in {tmp_path / 'devserver.db'}\n"
    assert server.stdout.readline() == f"Watch it at http://localhost:{port}/\n"
    server.send_signal(signal.SIGINT)
    assert server.communicate() == ("devserver stopped\n", "")
    assert server.returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["devserver.db"]


def test_keeps_nothing_in_memory(tmp_path: Path) -> None:
    server = devserver("--memory", "--port", "0", "--poll-port", "0", cwd=tmp_path)
    assert server.stdout is not None
    url = server.stdout.readline().split(",")[0].removeprefix("Resonate API on ")
    assert server.stdout.readline() == "Data in memory: gone when this stops\n"
    assert server.stdout.readline() == f"Watch it at {url.replace('127.0.0.1', 'localhost')}/\n"
    assert httpx.post(f"{url}/promises", json={"id": "p", "timeout": FAR}).status_code == 201
    server.terminate()
    assert server.communicate() == ("devserver stopped\n", "")
    assert server.returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_a_port_in_use_is_one_plain_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = devserver("--port", str(port), "--poll-port", "0", cwd=tmp_path)
        out, err = server.communicate()
    assert (server.returncode, out) == (1, "")
    assert err == f"devserver: Cannot listen on 127.0.0.1:{port}: Address already in use\n"


def test_a_file_that_is_no_database_is_one_plain_line(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("my notes")
    server = devserver("--db", str(path), "--port", "0", "--poll-port", "0", cwd=tmp_path)
    out, err = server.communicate()
    assert (server.returncode, out) == (1, "")
    assert err == (
        f"devserver: Cannot use the database {path}: file is not a database; "
        "choose another file with --db\n"
    )
    assert path.read_text() == "my notes"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stops_while_somebody_listens(number: int) -> None:
    with Cluster() as cluster, Listener(cluster.poll_url, "group", "me") as me:
        cluster.server.send_signal(number)
        assert me.next() is None
        assert cluster.server.wait(timeout=5) == 0
        assert cluster.server.errors == []


def test_keeps_what_it_acknowledged_when_it_is_killed() -> None:
    with Cluster() as cluster, httpx.Client(base_url=cluster.url) as api:
        promises = []
        for i in range(50):
            api.post("/promises", json={"id": f"p{i}", "timeout": FAR})
            body = {"state": "RESOLVED", "value": {"data": "AQI="}}
            promises.append(api.patch(f"/promises/p{i}", json=body).json())
        cluster.server.kill()
        cluster.start_server()
        assert [api.get(f"/promises/p{i}").json() for i in range(50)] == promises
        assert promises[49]["state"] == "RESOLVED"


def test_a_message_that_waits_survives_a_kill() -> None:
    body = {"id": "p", "timeout": FAR, "tags": {"resonate:invoke": "poll://any@group"}}
    with Cluster() as cluster:
        assert httpx.post(f"{cluster.url}/promises", json=body).status_code == 201
        cluster.server.kill()
        cluster.start_server()
        with Listener(cluster.poll_url, "group", "me") as me:
            assert me.next_task() == ("__invoke:p", 1)


def test_a_read_only_folder_is_one_plain_line(tmp_path: Path) -> None:
    # Not by permissions, which do not stop root: nothing can be made in /proc.
    server = devserver("--db", "/proc/x.db", "--port", "0", "--poll-port", "0", cwd=tmp_path)
    _, err = server.communicate()
    assert server.returncode == 1
    assert err == (
        "devserver: Cannot use the database /proc/x.db: unable to open database file; "
        "choose another file with --db\n"
    )


def test_a_second_server_on_a_file_is_one_plain_line(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with closing(open_database(str(path))):
        server = devserver("--db", str(path), "--port", "0", "--poll-port", "0", cwd=tmp_path)
        _, err = server.communicate()
    assert server.returncode == 1
    assert err == (
        f"devserver: Cannot use the database {path}: database is locked; "
        "another devserver is using it; stop that one, or choose another file with --db\n"
    )


def test_a_damaged_file_is_one_plain_line_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    open_database(str(path)).close()
    content = path.read_bytes()[:4096] + b"damage" * 1000
    path.write_bytes(content)
    server = devserver("--db", str(path), "--port", "0", "--poll-port", "0", cwd=tmp_path)
    _, err = server.communicate()
    assert server.returncode == 1
    assert err.count("\n") == 1
    assert str(path) in err
    assert path.read_bytes() == content


def test_a_full_disk_stops_the_server_and_loses_nothing(tmp_path: Path) -> None:
    port, poll_port = free_ports(2)
    arguments = ("--port", str(port), "--poll-port", str(poll_port))
    limit = 2**20
    server = devserver(
        *arguments,
        cwd=tmp_path,
        # A file that may not grow is to SQLite what a full disk is.
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert server.stdout is not None
    server.stdout.readline()
    acknowledged = []
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as api:
        for i in range(1000):
            body = {"id": f"p{i}", "timeout": FAR, "param": {"data": "A" * 10_000}}
            response = api.post("/promises", json=body)
            if response.status_code == 500:
                break
            acknowledged.append(response.json())
        assert response.json()["error"]["code"] == 50004
    _, err = server.communicate()
    assert server.returncode == 1
    failure, promise = err.splitlines()
    assert failure.startswith(f"devserver: Cannot use the database {tmp_path / 'devserver.db'}: ")
    assert promise == "devserver stopped; all acknowledged data is kept"

    server = devserver(*arguments, cwd=tmp_path)
    assert server.stdout is not None
    server.stdout.readline()
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as api:
        assert [api.get(f"/promises/{p['id']}").json() for p in acknowledged] == acknowledged
    server.terminate()
    server.communicate()


# Who may come in


def test_other_machines_need_a_password(tmp_path: Path) -> None:
    ports = ("--port", "0", "--poll-port", "0")
    server = devserver("--host", "0.0.0.0", *ports, cwd=tmp_path)  # noqa: S104
    _, err = server.communicate()
    assert server.returncode == 1
    assert err == (
        "devserver: Not listening on 0.0.0.0, where other machines could reach all data: "
        "give --username and --password\n"
    )


def test_a_name_without_a_password_is_refused(tmp_path: Path) -> None:
    server = devserver("--username", "me", "--port", "0", "--poll-port", "0", cwd=tmp_path)
    _, err = server.communicate()
    assert (server.returncode, err) == (
        1,
        "devserver: --username and --password go together\n",
    )


def test_with_a_password_both_ports_ask_for_it(tmp_path: Path) -> None:
    port, poll_port = free_ports(2)
    arguments = ("--memory", "--port", str(port), "--poll-port", str(poll_port))
    server = devserver(*arguments, "--username", "mé", "--password", "s:crét", cwd=tmp_path)
    assert server.stdout is not None
    server.stdout.readline()
    good = httpx.BasicAuth("mé", "s:crét")
    for url in (f"http://127.0.0.1:{port}/promises?id=*", f"http://127.0.0.1:{poll_port}/g/i"):
        for auth in (None, httpx.BasicAuth("mé", "wrong"), httpx.BasicAuth("", "")):
            response = httpx.get(url, auth=auth)
            assert response.status_code == 401
            assert response.headers["www-authenticate"].startswith("Basic ")
            assert response.json()["error"]["code"] == 40100
        for odd in ("Basic", "Basic !!!", "Bearer x", "basic bcO2"):
            assert httpx.get(url, headers={"authorization": odd}).status_code == 401
        with httpx.stream("GET", url, auth=good) as response:
            assert response.status_code == 200
    assert httpx.get(f"http://127.0.0.1:{port}/ping").status_code == 200
    server.terminate()
    server.communicate()


@pytest.mark.parametrize("program", ["devserver", "demo"])
def test_windows_is_told_about_wsl(program: str, tmp_path: Path) -> None:
    # Modules that Python does not have on Windows.
    missing = "fcntl", "pty", "pwd", "resource", "termios", "tty"
    simulation = f"""
import runpy, sys
sys.modules.update(dict.fromkeys({missing}))
sys.platform = "win32"
runpy.run_module({program!r}, run_name="__main__", alter_sys=True)
"""
    with start("-c", simulation, cwd=tmp_path) as run:
        assert run.wait() == 1
    assert run.errors == [f"{program}: This runs on Linux and macOS. On Windows, run it in WSL."]
