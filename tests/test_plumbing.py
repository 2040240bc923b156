"""The connection: restarts of the server, odd answers, refusals, addresses and values."""

from __future__ import annotations

import gc
import json
import math
import re
import socket
import time
from contextlib import contextmanager, suppress
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest
from resonate.errors import ResonateCanceledError
from resonate.models.result import Ok
from resonate.options import Options
from resonate.registry import Registry

import plumbing
from plumbing.connection import Address, RefusedError, Server, ServerError, UnreachableError
from plumbing.messages import Messages
from plumbing.promises import Promises
from plumbing.store import Store
from plumbing.values import Promise
from tests.api import FAR, claim, complete, invoke
from tests.listener import Listener

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from demo.cluster import Cluster

pytestmark = pytest.mark.usefixtures("closed_connections")


@pytest.fixture(autouse=True, scope="module")
def collect_connections() -> Iterator[None]:
    """Collect the open connections here, because a later test may not ignore their warnings."""
    yield
    gc.collect()


def store_at(url: str) -> Store:
    return Store(Server(Address(url, None)), Registry())


@pytest.fixture
def store(cluster: Cluster) -> Store:
    """The store that the SDK's threads use."""
    return store_at(cluster.url)


@pytest.fixture
def listener(cluster: Cluster) -> Iterator[Listener]:
    with Listener(cluster.poll_url, "group", "me") as listener:
        yield listener


def test_finds_a_restarted_server(cluster: Cluster, store: Store) -> None:
    store.promises.create("one", FAR, ikey="one")
    cluster.server.kill()
    cluster.start_server()
    assert store.promises.get("one").pending


def test_reopens_an_idle_connection_that_the_server_closed(store: Store) -> None:
    store.promises.create("idle", FAR, ikey="idle")
    time.sleep(6)  # devserver closes an idle connection after 5 s, and nothing announces that
    assert store.promises.get("idle").pending


class TestRefusals:
    def test_a_completed_promise_stays_as_it_is(self, store: Store) -> None:
        store.promises.create("done", FAR, ikey="done")
        store.promises.cancel("done")
        assert store.promises.resolve("done", ikey="done", data="1").canceled
        assert store.promises.reject("done", ikey="done", data="1").canceled

    def test_a_program_gets_refusals_as_errors(self, store: Store) -> None:
        promises = Promises(store, raises=True)
        with pytest.raises(RefusedError) as refused:
            promises.get("nowhere")
        assert refused.value.number == 40400
        promises.create("twice", FAR)
        with pytest.raises(RefusedError) as refused:
            promises.create("twice", FAR)
        assert refused.value.number == 40900

    def test_a_result_of_an_unknown_promise_is_not_taken_for_completed(self, store: Store) -> None:
        assert store.promises.resolve("nowhere", ikey="nowhere", data="1").rejected

    def test_a_waiting_call_fails_if_its_promise_is_unknown(self, store: Store) -> None:
        promise, callback = store.promises.callback("nowhere", "root", "poll://any@group", FAR)
        assert (promise.rejected, callback) == (True, None)
        promise, callback = store.promises.subscribe("id", "nowhere", "poll://any@group", FAR)
        assert (promise.rejected, callback) == (True, None)

    def test_a_task_is_sent_again_if_the_answer_to_its_claim_was_lost(
        self, store: Store, http: httpx.Client, listener: Listener
    ) -> None:
        """The SDK does not know the task, and its heartbeats would renew the lease."""
        invoke(http, "call", "poll://any@group")
        task, counter = listener.next_task()
        claim(http, (task, counter), "me").raise_for_status()
        assert not store.tasks.take(task, counter, "me", 60_000)
        again, next_counter = listener.next_task()
        assert (again, next_counter > counter) == (task, True)

    def test_a_late_claim_leaves_the_task_to_others(
        self, store: Store, http: httpx.Client, listener: Listener
    ) -> None:
        invoke(http, "call", "poll://any@group")
        task, counter = listener.next_task()
        assert not store.tasks.take(task, counter - 1, "me", 60_000)
        assert not store.tasks.take("__invoke:nowhere", 1, "me", 60_000)
        claim(http, (task, counter), "other").raise_for_status()
        assert store.tasks.complete(task, counter - 1), "another worker has this task"


@pytest.mark.parametrize("other", [None, "RESOLVED", "REJECTED_CANCELED"])
def test_a_process_has_no_task_after_its_function_has_ended(
    store: Store, http: httpx.Client, other: str | None
) -> None:
    """The connection does not complete the task of a completed promise: the server has done so."""
    name, pid = f"call-{other}", f"process-{other}"
    tags = {"resonate:invoke": "poll://any@group"}
    _, task = store.promises.create_with_task(name, FAR, pid, 60_000, ikey=name, tags=tags)
    assert task is not None
    if other is not None:
        complete(http, name, other)
    store.promises.resolve(name, ikey=name, data="1")
    assert store.tasks.complete(task.id, task.counter)
    assert store.tasks.heartbeat(pid) == 0


def read_request(peer: socket.socket) -> None:
    with peer.makefile("rb") as stream:
        head = b"".join(iter(stream.readline, b"\r\n"))
        if length := re.search(rb"content-length: (\d+)", head, re.IGNORECASE):
            stream.read(int(length[1]))


@contextmanager
def answering(*answers: bytes) -> Iterator[str]:
    """Listen on a port. Send each connection the next of these answers, and close it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            for text in answers:
                peer, _ = listener.accept()
                with peer, suppress(ConnectionError):  # the client may stop reading
                    read_request(peer)
                    for byte in text:  # TCP may split an answer anywhere
                        peer.sendall(bytes([byte]))

        thread = Thread(target=answer, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


PROMISE = json.dumps({"id": "p", "state": "PENDING", "timeout": FAR, "createdOn": 1}).encode()
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(PROMISE), PROMISE)


@pytest.mark.parametrize(
    "answer",
    [
        WHOLE,
        b"HTTP/1.1 100 Continue\r\n\r\n" + WHOLE,
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + PROMISE,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n%x;name=value\r\n%s\r\n0\r\n\r\n"
        % (len(PROMISE), PROMISE),
    ],
    ids=["known length", "after 100 Continue", "until the end", "chunked"],
)
def test_reads_every_form_of_an_answer(answer: bytes) -> None:
    with answering(answer) as url:
        assert store_at(url).promises.get("p").id == "p"


@pytest.mark.parametrize(
    "odd",
    [
        b"",
        WHOLE[:-1],
        WHOLE[:20],
        b"What?\r\n\r\n",
        b"HTTP/1.1 two\r\n\r\n",
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 13\r\n\r\n<h1>Gone</h1>",
        b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n<h1>Hi!</h1>",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    ],
)
def test_repeats_a_request_that_no_resonate_server_answered(odd: bytes) -> None:
    with answering(WHOLE, odd, odd, WHOLE) as url:
        store = store_at(url)
        for _ in range(2):
            assert store.promises.get("p").id == "p"


def test_repeats_a_look_at_a_promise_that_no_resonate_server_answered() -> None:
    done = PROMISE.replace(b"PENDING", b"RESOLVED")
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(done), done)
    with answering(WHOLE, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", answer) as url:
        store = store_at(url)
        store.promises.get("p")
        store.promises.awaited["p"] = -math.inf
        message: Any = Messages(Address(url, None), "group", "me", 10, store).next()
        assert message["promise"]["state"] == "RESOLVED"


REFUSAL = json.dumps(
    {"error": {"code": 40000, "message": "no", "details": [{"message": "not like this"}]}}
).encode()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n", "too large: 1 MB"),
        (b"HTTP/1.1 414 URI Too Long\r\nContent-Length: 0\r\n\r\n", "URI Too Long"),
        (
            b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n%s" % (len(REFUSAL), REFUSAL),
            "no: not like this",
        ),
    ],
)
def test_a_refusal_says_why(answer: bytes, words: str) -> None:
    with answering(answer) as url, pytest.raises(RefusedError, match=words):
        Promises(store_at(url), raises=True).create("p", FAR, data="x" * 600_000)


def test_an_id_stays_in_its_header_and_in_its_path(store: Store) -> None:
    strange = "a b?c#d%2F/é\r\nx-injected: 1"
    store.promises.create(strange, FAR, ikey=strange)
    assert store.promises.create(strange, FAR, ikey=strange).id == strange
    assert store.promises.resolve(strange, ikey=strange, data="1").resolved


@pytest.mark.parametrize("name", [".", "..", "x" * 3000, "日本", "a/../b"])
def test_any_id_works(store: Store, name: str) -> None:
    assert store.promises.create(name, FAR, ikey=name).id == name
    assert store.promises.get(name).pending
    assert store.promises.subscribe("me", name, "poll://uni@group/me", FAR)[0].pending
    assert store.promises.resolve(name, ikey=name, data="1").resolved


@pytest.mark.skipif(not hasattr(socket, "TCP_KEEPIDLE"), reason="macOS has another name for it")
def test_a_quiet_connection_is_probed_soon() -> None:
    with answering(WHOLE) as url:
        connection = Address(url, None).open()
        assert connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 15
        connection.request("GET", "/")
        assert connection.getresponse().read() == PROMISE


class TestAddresses:
    @pytest.mark.parametrize(
        "host", ["http://LOCALHOST", "http://127.0.0.1", "http://me:pw@localhost"]
    )
    def test_takes_what_the_sdk_takes(self, devserver: Cluster, host: str) -> None:
        port = devserver.url.rpartition(":")[2]
        Server(Address.of("STORE", host, port, None)).check()

    def test_takes_ipv6(self) -> None:
        assert Address.of("STORE", "http://[::1]", "80", None).parts.hostname == "::1"

    def test_credentials_in_the_host_are_sent(self) -> None:
        sent = Address("http://me:p%40ss@localhost:8001", None).headers
        assert sent == {"Authorization": b"Basic bWU6cEBzcw=="}

    def test_a_missing_server_is_an_error_in_a_program_that_only_calls(self) -> None:
        with answering() as url:
            pass
        host, _, port = url.rpartition(":")
        client = plumbing.Resonate.remote(host=host, store_port=port)
        with pytest.raises(UnreachableError, match="Cannot reach the Resonate server at"):
            client.rpc("id", "function")
        with pytest.raises(ServerError):
            client.promises.get("id")


class StrangeError(Exception):
    """An exception class that other processes do not have."""


def promise_with(store: Store, value: Any, state: Any = "RESOLVED") -> Promise:
    """Make a promise with a value that the plain SDK has encoded."""
    headers, data = Options().get_encoder().encode(value)
    fields = {"headers": headers, "data": store.encoder.encode(data)}
    promise = {"id": "p", "state": state, "timeout": FAR, "createdOn": 1, "value": fields}
    read = Promise.from_dict(store, promise)
    assert isinstance(read, Promise)
    return read


@pytest.mark.filterwarnings("ignore:keys will default to True:DeprecationWarning")  # jsonpickle's
class TestValues:
    @pytest.mark.parametrize(
        ("sent", "read"),
        [
            (5, 5),
            (None, None),
            ("é", "é"),
            ({"a": [1, {}]}, {"a": [1, {}]}),
            ((1, (2, {})), [1, [2, {}]]),
        ],
    )
    def test_plain_data_arrives(self, sent: Any, read: Any) -> None:
        promise = promise_with(store_at("http://localhost:1"), sent)
        assert promise.result(Options().get_encoder()) == Ok(read)

    @pytest.mark.parametrize(
        ("sent", "read"),
        [
            (StrangeError("no luck"), "StrangeError: no luck"),
            (ValueError("n"), "ValueError: n"),
            (Exception("plain"), "plain"),
            (ResonateCanceledError("p"), "ResonateCanceledError: [200.00000] Promise p canceled"),
        ],
    )
    def test_an_exception_keeps_its_type_and_message_as_text(self, sent: Any, read: str) -> None:
        promise = promise_with(store_at("http://localhost:1"), sent, "REJECTED")
        error = promise.result(Options().get_encoder()).value
        assert (type(error), str(error)) == (Exception, read)

    @pytest.mark.parametrize("sent", [{1, 2}, b"bytes", [Registry()], {"a": (object(),)}])
    def test_an_object_is_an_error_and_not_an_empty_value(self, sent: Any) -> None:
        promise = promise_with(store_at("http://localhost:1"), sent)
        error = promise.result(Options().get_encoder()).value
        assert isinstance(error, ValueError)
        assert "it contains an object" in str(error)
