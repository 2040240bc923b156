"""devserver with a broken stdout, and with many signals."""

from __future__ import annotations

import signal
import socket
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.api import FAR, create
from tests.programs import Program, Server, free_ports

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("redirection", [">/dev/full", ">&- 2>&-"])
def test_it_serves_without_a_usable_stdout(redirection: str, tmp_path: Path) -> None:
    port, poll_port = free_ports(2)
    command = f'exec "{sys.executable}" -m devserver --port {port} --poll-port {poll_port}'
    shell = Program(["sh", "-c", f"{command} {redirection}"], cwd=tmp_path)
    with shell, httpx.Client(base_url=f"http://127.0.0.1:{port}") as api:
        while shell.alive:
            with suppress(httpx.TransportError):
                create(api, "p")
                break
            time.sleep(0.05)  # it cannot say that it serves
        shell.send_signal(signal.SIGINT)
        assert (shell.wait(), shell.errors) == (0, [])
    assert [path.name for path in tmp_path.iterdir()] == ["devserver.db"]


def test_many_signals_are_one_signal() -> None:
    """It stops although a client does not read its answer."""
    with Server() as server, socket.socket() as client:
        body = {"id": "p", "timeout": FAR, "param": {"data": "A" * 15_000_000}}
        assert httpx.post(f"{server.url}/promises", json=body).status_code == 201
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
