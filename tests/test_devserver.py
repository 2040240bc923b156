"""The devserver as a program: what it prints, how it stops, what it keeps."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import httpx
import pytest

from demo.processes import ROOT, Cluster, free_ports
from tests.listener import Listener

if TYPE_CHECKING:
    from pathlib import Path

FAR = 4_000_000_000_000


def devserver(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "devserver", *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
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
    server.send_signal(signal.SIGINT)
    assert server.communicate() == ("devserver stopped\n", "")
    assert server.returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["devserver.db"]


def test_keeps_nothing_in_memory(tmp_path: Path) -> None:
    server = devserver("--memory", "--port", "0", "--poll-port", "0", cwd=tmp_path)
    assert server.stdout is not None
    url = server.stdout.readline().split(",")[0].removeprefix("Resonate API on ")
    assert server.stdout.readline() == "Data in memory: gone when this stops\n"
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
    assert err == f"devserver: Cannot use the database {path}: file is not a database\n"
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
