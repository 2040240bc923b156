"""Notifications reach their subscriber, although its connection stalls or the server is killed."""

from __future__ import annotations

import json
import signal
import socket
from contextlib import closing, suppress

import httpx
import pytest

from devserver.store.database import open_database
from tests.api import FAR, claim, complete, create, invoke
from tests.listener import Listener
from tests.programs import PATIENCE, Server


def connect(server: Server) -> socket.socket:
    """Open the message stream of `poll://uni@clients/me` without reading from it."""
    stream = socket.socket()
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stream.connect(("127.0.0.1", server.poll_port))
    stream.settimeout(PATIENCE)
    stream.sendall(b"GET /clients/me HTTP/1.1\r\nhost: localhost\r\n\r\n")
    assert stream.recv(12) == b"HTTP/1.1 200"
    return stream


def notify(api: httpx.Client, promise_id: str, address: str, size: int) -> None:
    """Resolve a promise with a value of a size, so that the server notifies an address."""
    create(api, promise_id)
    body = {"id": "me", "recv": address, "timeout": FAR}
    api.post(f"/promises/subscribe/{promise_id}", json=body).raise_for_status()
    complete(api, promise_id, value="A" * size)


def read_until(listener: Listener, ids: set[str]) -> None:
    """Read until the notifications of all ids have arrived."""
    missing = set(ids)
    while missing:
        message = listener.next()
        assert message is not None
        missing.discard(message["promise"]["id"])


def ids_read_from(stream: socket.socket) -> set[str]:
    """Read a stream up to its end, which may be in the middle of a notification."""
    received = b""
    with suppress(ConnectionError):
        while part := stream.recv(2**20):
            received += part
    messages = [line for line in received.split(b"\n") if line.endswith(b"}")]
    return {json.loads(line.removeprefix(b"data: "))["promise"]["id"] for line in messages}


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_notification_that_was_not_read_is_sent_again(is_killed: bool) -> None:
    ids = {f"p{i}" for i in range(20)}
    with Server() as server, httpx.Client(base_url=server.url, timeout=60) as api:
        with closing(connect(server)) as stalled:
            for promise_id in ids:
                notify(api, promise_id, "poll://uni@clients/me", 1_000_000)
            # Other clients are not delayed while one subscriber stalls.
            with Listener(server.poll_url, "clients", "other") as other:
                notify(api, "q", "poll://uni@clients/other", 12)
                read_until(other, {"q"})
            if is_killed:
                server.process.kill()
            else:
                stalled.shutdown(socket.SHUT_WR)
            told = ids_read_from(stalled)
        if is_killed:
            server.start()
        assert told != ids
        with Listener(server.poll_url, "clients", "me") as me:
            read_until(me, ids - told)


def test_a_notification_that_was_read_is_not_sent_again() -> None:
    with Server() as server, httpx.Client(base_url=server.url, timeout=60) as api:
        with Listener(server.poll_url, "clients", "me") as me:
            notify(api, "p", "poll://uni@clients/me", 12)
            read_until(me, {"p"})
        path = server.db
        server.process.send_signal(signal.SIGTERM)
        with closing(open_database(str(path))) as db:
            (state,) = db.execute("SELECT state FROM tasks WHERE type = 'notify'").fetchone()
        assert state == "COMPLETED"


def test_a_new_connection_gets_only_the_messages_that_wait_for_it() -> None:
    """Calls of a group without workers used to delay the connections of other groups."""
    with Server() as server, httpx.Client(base_url=server.url, timeout=60) as api:
        for i in range(50):
            invoke(api, f"p{i}", "poll://any@nobody")
        with Listener(server.poll_url, "other", "one") as other:
            invoke(api, "q", "poll://any@other")
            assert other.next_task() == ("__invoke:q", 1)
        # Counter 1: the server has not sent these messages before.
        with Listener(server.poll_url, "nobody", "one") as one:
            for i in range(50):
                task = one.next_task()
                assert task == (f"__invoke:p{i}", 1)
                assert claim(api, task, "one").status_code == 201
