"""The cost of one client to others: large and endless requests, and unread answers."""

from __future__ import annotations

import select
import socket
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import httpx
import psutil
import pytest

from demo.cluster import Cluster
from devserver.limits import MAX_HEAD
from tests.api import FAR

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 120.0


@pytest.fixture(scope="module")
def limited() -> Iterator[Cluster]:
    with Cluster() as cluster:
        yield cluster
        assert cluster.server.errors == []


def connect(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=PATIENCE)


def read_to_the_end(connection: socket.socket) -> bytes:
    received = b""
    while part := connection.recv(65536):
        received += part
    return received


def test_a_large_head_is_refused_on_both_ports(limited: Cluster) -> None:
    for url in (f"{limited.url}/ping", f"{limited.poll_url}/group/id"):
        for headers in ({"x": "y" * MAX_HEAD}, {f"x{i}": "y" * 1000 for i in range(100)}):
            assert httpx.get(url, headers=headers).status_code == 431
        assert httpx.get(f"{url}?{'y' * 60_000}", headers={"x": "y" * 6_000}).status_code == 431
    assert httpx.get(f"{limited.url}/ping", headers={"x": "y" * 60_000}).status_code == 200


@pytest.mark.parametrize(
    "begin",
    [
        b"GET /",
        b"GET /ping HTTP/1.1\r\nhost: ",
        b"GET /ping HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"POST /promises HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n1;",
        b"POST /promises HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: ",
    ],
)
def test_an_endless_line_ends_the_connection(limited: Cluster, begin: bytes) -> None:
    endless = b"\r\n" * 2**19 if begin.endswith(b"\r\n\r\n") else b"y" * 2**20
    with connect(limited.url) as connection:
        connection.sendall(begin)
        with pytest.raises(ConnectionError):
            for _ in range(64):
                connection.sendall(endless)
    assert httpx.get(f"{limited.url}/ping").status_code == 200


def test_endless_trailers_end_the_connection(limited: Cluster) -> None:
    with connect(limited.url) as connection:
        connection.sendall(
            b"POST /promises HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n0\r\n"
        )
        with pytest.raises(ConnectionError):
            for _ in range(64):
                connection.sendall(b"x: y\r\n" * 2**17)


def test_pipelined_requests_are_not_one_large_head(limited: Cluster) -> None:
    with connect(limited.url) as connection:
        connection.sendall(b"GET /ping HTTP/1.1\r\nhost: localhost\r\n\r\n" * 5_000)
        received = b""
        while received.count(b"HTTP/1.1 200") < 5_000:
            part = connection.recv(65536)
            assert part, received[-200:]
            received += part


def test_a_request_that_never_ends_is_closed(limited: Cluster) -> None:
    begins = [
        b"",
        b"GET /pi",
        b"GET /ping HTTP/1.1\r\nhost: localhost\r\n",
        b"\r\n",
        b"GET /ping HTTP/1.1\r\nhost: localhost\r\n\r\n\r\n",
        b"GET /ping HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n",
        b"POST /promises HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{",
    ]
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(limited.url)) for _ in begins]
        for connection, begin in zip(connections, begins, strict=True):
            connection.sendall(begin)
        for connection in connections:
            read_to_the_end(connection)


def test_a_trickle_after_the_answer_is_closed(limited: Cluster) -> None:
    """Each byte of an unread body used to postpone the end of the connection."""
    with connect(limited.url) as connection:
        connection.sendall(b"GET /ping HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n")
        connection.settimeout(1)
        for _ in range(int(PATIENCE)):
            try:
                connection.sendall(b"x")
                if not connection.recv(65536):
                    return
            except TimeoutError:
                continue
            except ConnectionError:
                return
        pytest.fail("the connection stays open")


def test_unfinished_bodies_do_not_fill_the_memory(limited: Cluster) -> None:
    head = b"POST /promises HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10000000\r\n\r\n"
    part = b"x" * 9_000_000
    with ExitStack() as stack:
        left = {}
        for _ in range(60):
            connection = stack.enter_context(connect(limited.url))
            # The system keeps up to several megabytes of each connection that the server leaves
            # unread. Only what the server itself takes counts here.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**16)
            connection.sendall(head)
            connection.setblocking(False)
            left[connection] = len(part)
        while writable := select.select([], [c for c in left if left[c]], [], 2)[1]:
            for connection in writable:
                left[connection] -= connection.send(part[: left[connection]])
        taken = sum(len(part) - n for n in left.values())
        assert taken < 60 * len(part) // 2
        # Small requests do not wait for large ones.
        body = {"id": "small", "timeout": FAR}
        assert httpx.post(f"{limited.url}/promises", json=body, timeout=10).status_code == 201


def test_an_answer_that_is_not_read_is_given_up() -> None:
    with Cluster() as cluster, connect(cluster.url) as reader:
        body = {"id": "p", "timeout": FAR, "param": {"data": "A" * 15_000_000}}
        assert httpx.post(f"{cluster.url}/promises", json=body, timeout=30).status_code == 201
        server = psutil.Process(cluster.server.pid)
        reader.sendall(b"GET /promises/p HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert reader.recv(12) == b"HTTP/1.1 200"
        deadline = time.monotonic() + PATIENCE
        while reader.getsockname() in {c.raddr for c in server.net_connections()}:
            assert time.monotonic() < deadline, "the connection stays open"
            time.sleep(0.2)
        assert len(read_to_the_end(reader)) < 15_000_000


def test_a_search_for_large_promises_has_several_pages(limited: Cluster) -> None:
    ids = [f"large{i}" for i in range(8)]
    for promise_id in ids:
        body = {"id": promise_id, "timeout": FAR, "param": {"data": "A" * 3_000_000}}
        httpx.post(f"{limited.url}/promises", json=body, timeout=60).raise_for_status()
    found: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        query = {"id": "large*", "cursor": cursor}
        answer = httpx.get(f"{limited.url}/promises", params=query, timeout=60)
        assert len(answer.content) < 10_000_000
        found += [promise["id"] for promise in answer.json()["promises"]]
        cursor = answer.json()["cursor"]
    assert found == ids[::-1]
