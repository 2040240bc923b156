"""devserver with a broken stdout, and with more signals than one."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import httpx
import pytest

from demo.cluster import ROOT, Cluster, free_ports
from demo.processes import PATIENCE, Process
from tests.api import FAR, create

if TYPE_CHECKING:
    from pathlib import Path


def wait_for_server(api: httpx.Client) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        with suppress(httpx.TransportError):
            api.get("/ping")
            return
        assert time.monotonic() < deadline
        time.sleep(0.05)  # it cannot say that it serves


@pytest.mark.parametrize("redirection", [">/dev/full", ">&-", "| true", "</dev/null >&- 2>&-"])
def test_it_serves_without_a_usable_stdout(redirection: str, tmp_path: Path) -> None:
    port, poll_port = free_ports(2)
    command = f'"{sys.executable}" -m devserver --port {port} --poll-port {poll_port}'
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    shell = Process("sh", ["sh", "-c", f"{command} {redirection}"], cwd=tmp_path, env=env)
    with shell, httpx.Client(base_url=f"http://127.0.0.1:{port}") as api:
        wait_for_server(api)
        create(api, "p")
        os.killpg(shell.pid, signal.SIGINT)
        shell.wait()
    assert shell.errors == []
    assert [path.name for path in tmp_path.glob("*.db*")] == ["devserver.db"]


def test_a_storm_of_signals_is_one_signal() -> None:
    with Cluster() as cluster:
        while cluster.server.alive:
            cluster.server.send_signal(signal.SIGINT)
            cluster.server.send_signal(signal.SIGTERM)
            time.sleep(0.001)
        assert cluster.server.wait() == 0
        assert cluster.server.output[-1] == "devserver stopped"
        assert cluster.server.errors == []


def test_it_stops_although_a_client_does_not_read_its_answer() -> None:
    with Cluster() as cluster, socket.socket() as client:
        body = {"id": "p", "timeout": FAR, "param": {"data": "A" * 15_000_000}}
        assert httpx.post(f"{cluster.url}/promises", json=body).status_code == 201
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        host, port = cluster.url.removeprefix("http://").split(":")
        client.connect((host, int(port)))
        client.sendall(b"GET /promises/p HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.1 200"
        cluster.server.send_signal(signal.SIGTERM)
        assert cluster.server.wait() == 0
        assert cluster.server.errors == []
