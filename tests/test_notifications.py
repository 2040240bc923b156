"""Notifications reach their subscriber, although its connection stalls or the server is killed."""

from __future__ import annotations

import json
import socket
from contextlib import closing
from typing import TYPE_CHECKING, Any

import httpx

from demo.cluster import Cluster
from devserver.store.database import open_database
from tests.api import claim, invoke
from tests.listener import Listener
from tests.test_file import database_of

if TYPE_CHECKING:
    from collections.abc import Iterable

FAR = 4_000_000_000_000
PATIENCE = 120.0


def connect(cluster: Cluster, path: str) -> socket.socket:
    """Open a message stream without reading from it."""
    host, port = cluster.poll_url.removeprefix("http://").split(":")
    stream = socket.socket()
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stream.connect((host, int(port)))
    stream.settimeout(PATIENCE)
    stream.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
    assert stream.recv(12) == b"HTTP/1.1 200"
    return stream


def complete(api: httpx.Client, ids: Iterable[str], address: str, size: int) -> None:
    """Create promises, subscribe an address to them, and resolve them with values of a size."""
    for promise_id in ids:
        api.post("/promises", json={"id": promise_id, "timeout": FAR}).raise_for_status()
        body = {"id": "me", "recv": address, "timeout": FAR}
        api.post(f"/promises/subscribe/{promise_id}", json=body).raise_for_status()
        done = {"state": "RESOLVED", "value": {"data": "A" * size}}
        api.patch(f"/promises/{promise_id}", json=done).raise_for_status()


def read_until(listener: Listener, ids: set[str]) -> None:
    """Read until the notifications of all ids have arrived."""
    missing = set(ids)
    while missing:
        message = listener.next()
        assert message is not None
        missing.discard(message["promise"]["id"])


def read_messages(stream: socket.socket) -> list[dict[str, Any]]:
    """Read a stream up to its end, which may be in the middle of a message."""
    received = b""
    while True:
        try:
            part = stream.recv(2**20)
        except ConnectionError:
            part = b""
        if not part:
            break
        received += part
    return [
        json.loads(line.removeprefix(b"data: "))
        for line in received.split(b"\n")
        if line.startswith(b"data: ") and line.endswith(b"}")
    ]


def test_messages_that_a_stalled_connection_did_not_read_are_sent_again() -> None:
    ids = {f"p{i}" for i in range(30)}
    with Cluster() as cluster, httpx.Client(base_url=cluster.url, timeout=60) as api:
        with closing(connect(cluster, "/clients/me")) as stalled:
            complete(api, ids, "poll://uni@clients/me", 1_000_000)
            # Other clients are not delayed while one subscriber stalls.
            with Listener(cluster.poll_url, "clients", "other") as other:
                complete(api, ["q"], "poll://uni@clients/other", 12)
                read_until(other, {"q"})
            stalled.shutdown(socket.SHUT_WR)
            told = {m["promise"]["id"] for m in read_messages(stalled)}
        with Listener(cluster.poll_url, "clients", "me") as me:
            read_until(me, ids - told)
        assert cluster.server.errors == []


def test_a_kill_of_the_server_loses_no_notification() -> None:
    ids = {f"p{i}" for i in range(30)}
    with Cluster() as cluster, httpx.Client(base_url=cluster.url, timeout=60) as api:
        with closing(connect(cluster, "/clients/me")) as stalled:
            complete(api, ids, "poll://uni@clients/me", 1_000_000)
            cluster.server.kill()
            told = {m["promise"]["id"] for m in read_messages(stalled)}
        cluster.start_server()
        assert told != ids
        with Listener(cluster.poll_url, "clients", "me") as me:
            read_until(me, ids - told)


def test_a_notification_that_was_read_is_not_sent_again() -> None:
    with Cluster() as cluster, httpx.Client(base_url=cluster.url, timeout=60) as api:
        with Listener(cluster.poll_url, "clients", "me") as me:
            complete(api, ["p"], "poll://uni@clients/me", 12)
            read_until(me, {"p"})
        path = database_of(cluster)
        cluster.server.stop()
        with closing(open_database(str(path))) as db:
            (state,) = db.execute("SELECT state FROM tasks WHERE type = 'notify'").fetchone()
        assert state == "COMPLETED"


def test_a_new_connection_gets_only_the_messages_that_wait_for_it() -> None:
    """Calls of a group without workers used to delay the connections of other groups."""
    with Cluster() as cluster, httpx.Client(base_url=cluster.url, timeout=60) as api:
        for i in range(600):
            invoke(api, f"p{i}", "poll://any@nobody")
        with Listener(cluster.poll_url, "other", "one") as other:
            invoke(api, "q", "poll://any@other")
            assert other.next_task() == ("__invoke:q", 1)
        # Counter 1: the server has not sent these messages before.
        with Listener(cluster.poll_url, "nobody", "one") as one:
            for i in range(600):
                task = one.next_task()
                assert task == (f"__invoke:p{i}", 1)
                assert claim(api, task, "one").status_code == 201
