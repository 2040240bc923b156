"""The scripts' connection: what it makes of a server that goes away, and of refusals."""

from __future__ import annotations

import socket
import time
from contextlib import closing, contextmanager, suppress
from threading import Thread
from typing import TYPE_CHECKING

import httpx
import pytest

from plumbing.connection import Connection
from plumbing.store import RefusedError, Store
from tests.listener import Listener

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cluster import Cluster

FAR = 4_000_000_000_000


@pytest.fixture
def store(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    for name, value in cluster.env.items():
        if name.startswith("RESONATE_"):
            monkeypatch.setenv(name, value)
    store = Store()
    with closing(store.connection):
        yield store


def test_a_restarted_server_is_found_again(cluster: Cluster, store: Store) -> None:
    store.promises.create("one", FAR, ikey="one")
    cluster.server.kill()
    cluster.start_server()
    assert store.promises.get("one").pending


def test_an_idle_connection_that_the_server_closed_costs_nothing(store: Store) -> None:
    store.promises.create("idle", FAR, ikey="idle")
    time.sleep(6)  # the devserver closes an idle connection after 5 s; there is nothing to await
    begin = time.monotonic()
    assert store.promises.get("idle").pending
    assert time.monotonic() - begin < 0.9, "the pause before another try is a second"


def test_a_promise_that_somebody_else_has_completed_stays_as_it_is(store: Store) -> None:
    store.promises.create("done", FAR, ikey="done")
    store.promises.cancel("done")
    assert store.promises.resolve("done", ikey="done", data="1").canceled
    assert store.promises.reject("done", ikey="done", data="1").canceled


def test_other_refusals_are_errors(store: Store) -> None:
    with pytest.raises(RefusedError) as refused:
        store.promises.get("nowhere")
    assert refused.value.number == 40400


def test_a_claim_whose_answer_was_lost_comes_again(cluster: Cluster, store: Store) -> None:
    """It would be nobody's otherwise: the heartbeats renew it, and the SDK does not know it."""
    with Listener(cluster.poll_url, "group", "me") as listener:
        tags = {"resonate:invoke": "poll://any@group"}
        store.promises.create("call", FAR, ikey="call", tags=tags)
        task, counter = listener.next_task()
        claim = {"id": task, "counter": counter, "processId": "me", "ttl": 60_000}
        httpx.post(f"{cluster.url}/tasks/claim", json=claim).raise_for_status()
        assert not store.own_tasks.take(task, counter, "me")
        again, next_counter = listener.next_task()
        assert (again, next_counter > counter) == (task, True)


def test_a_claim_that_comes_too_late_is_left_to_others(cluster: Cluster, store: Store) -> None:
    with Listener(cluster.poll_url, "group", "me") as listener:
        tags = {"resonate:invoke": "poll://any@group"}
        store.promises.create("call", FAR, ikey="call", tags=tags)
        task, counter = listener.next_task()
        assert not store.own_tasks.take(task, counter - 1, "me")
        assert not store.own_tasks.take("__invoke:nowhere", 1, "me")
        claim = {"id": task, "counter": counter, "processId": "other", "ttl": 60_000}
        httpx.post(f"{cluster.url}/tasks/claim", json=claim).raise_for_status()
        assert store.own_tasks.complete(task, counter - 1), "that one is not its own any more"


@contextmanager
def answering(*answers: bytes) -> Iterator[Connection]:
    """A connection to somebody who says these bytes, one for each connection, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            for text in answers:
                peer, _ = listener.accept()
                with peer, suppress(ConnectionError):  # nobody has to hear all of it
                    peer.recv(65536)
                    for byte in text:  # however it is cut up on its way
                        peer.sendall(bytes([byte]))

        thread = Thread(target=answer)
        thread.start()
        with closing(Connection(f"http://127.0.0.1:{listener.getsockname()[1]}", None)) as us:
            yield us
        thread.join()


WHOLE = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_reads_answers_of_known_length_and_in_chunks() -> None:
    chunked = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\na\r\n0123456789\r\n"
    )
    with answering(WHOLE, chunked + b"0\r\n\r\n") as connection:
        assert connection.request("POST", "/", {}, b"{}") == (201, b"{}")
        assert connection.request("GET", "/", {}) == (200, b"abc0123456789")


@pytest.mark.parametrize(
    "broken", [b"", WHOLE[:-1], WHOLE[:20], b"What?\r\n\r\n", b"HTTP/1.1 two\r\n\r\n"]
)
def test_half_an_answer_is_none_and_the_next_request_begins_anew(broken: bytes) -> None:
    with answering(broken, WHOLE) as connection:
        with pytest.raises((OSError, ValueError)):
            connection.request("GET", "/", {})
        assert connection.request("GET", "/", {}) == (201, b"{}")


def test_a_stream_is_cut_into_lines_and_not_where_its_chunks_end() -> None:
    with answering(CHUNKED + b"6\r\ndata: \r\n5\r\n1\n\nda\r\n") as connection:
        status, lines = connection.stream("/group/me")
        assert status == 200
        assert [next(lines), next(lines)] == [b"data: 1", b""]
        with pytest.raises(OSError, match="closed"):
            next(lines)


@pytest.mark.skipif(not hasattr(socket, "TCP_KEEPIDLE"), reason="macOS names it otherwise")
def test_a_quiet_connection_is_tested_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    create_connection = socket.create_connection

    def remember(address: tuple[str, int], timeout: float) -> socket.socket:
        opened.append(create_connection(address, timeout))
        return opened[-1]

    monkeypatch.setattr(socket, "create_connection", remember)
    with answering(CHUNKED) as connection:
        connection.stream("/group/me")
        assert opened[0].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert opened[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 15


def test_an_id_cannot_end_its_header_or_leave_its_path(store: Store) -> None:
    strange = "a b?c#d%2F/é\r\nx-injected: 1"
    store.promises.create(strange, FAR, ikey=strange)
    assert store.promises.create(strange, FAR, ikey=strange).id == strange
    assert store.promises.resolve(strange, ikey=strange, data="1").resolved
