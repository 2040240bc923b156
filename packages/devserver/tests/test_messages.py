"""Messages over HTTP: who gets them, and none is lost if a stream stalls or breaks.

The recorded answers in `differential` show their content, and the addresses that reach a process.
"""

from __future__ import annotations

import json
import signal
import socket
from contextlib import closing, suppress

import httpx
import pytest

from devserver.store.database import open_database
from devserver.store.dispatch import MAX_UNCLAIMED
from tests.api import claim, complete, complete_task, create, invoke, subscribe
from tests.listener import Listener
from tests.programs import PATIENCE, Server


def test_a_message_waits_until_its_process_connects(
    api: httpx.Client, poll_url: str, name: str
) -> None:
    invoke(api, f"{name}-uni", f"poll://uni@{name}/two")
    invoke(api, f"{name}-any", f"poll://any@{name}")
    with Listener(poll_url, name, "one") as one, Listener(poll_url, name, "two") as two:
        assert one.next_task() == (f"__invoke:{name}-any", 1)
        assert two.next_task() == (f"__invoke:{name}-uni", 1)


@pytest.mark.parametrize("is_claimed", [False, True])
def test_the_tasks_of_a_process_that_ends_go_to_another_one(
    api: httpx.Client, poll_url: str, name: str, is_claimed: bool
) -> None:
    with Listener(poll_url, name, "one") as one:
        invoke(api, name, f"poll://any@{name}")
        task_id, counter = one.next_task()
        if is_claimed:
            claim(api, (task_id, counter), "one").raise_for_status()
        with Listener(poll_url, name, "two") as two:
            one.close()
            assert two.next_task() == (task_id, counter + 1)
            late = complete_task(api, (task_id, counter))
            assert late.status_code == 403, "it runs after all, but too late"
            claim(api, (task_id, counter + 1), "two").raise_for_status()


def test_a_process_gets_a_few_messages_at_a_time(
    api: httpx.Client, poll_url: str, name: str
) -> None:
    with Listener(poll_url, name, "one") as one, Listener(poll_url, name, "two") as two:
        for i in range(3 * MAX_UNCLAIMED):
            invoke(api, f"{name}-{i}", f"poll://any@{name}/one")
        tasks = [one.next_task() for _ in range(MAX_UNCLAIMED)]
        others = [two.next_task() for _ in range(MAX_UNCLAIMED)]
        claim(api, tasks[0], "one").raise_for_status()
        assert one.next_task() == (f"__invoke:{name}-{2 * MAX_UNCLAIMED}", 1)
        complete(api, others[0][0].removeprefix("__invoke:"))
        assert two.next_task() == (f"__invoke:{name}-{2 * MAX_UNCLAIMED + 1}", 1)


def test_a_message_is_one_line_of_ascii(api: httpx.Client, poll_url: str) -> None:
    """The SDK breaks lines at every line break of Unicode."""
    breaks = "\v\f\x1c\x1d\x1e\x85\u2028\u2029é\U0001f600"
    promise_id = breaks[6:]  # the server refuses control characters in ids
    with httpx.stream("GET", f"{poll_url}/ascii/one") as stream:
        create(api, promise_id, tags={"resonate:invoke": "poll://any@ascii", "other": breaks})
        event = next(part for part in stream.iter_raw() if part)
    assert event.isascii()
    assert len(event.decode().splitlines()) == 2  # the message, and the empty line after it
    assert json.loads(event.removeprefix(b"data: "))["task"]["rootPromiseId"] == promise_id


def test_a_stream_needs_a_get_request_a_group_and_an_id(api: httpx.Client, poll_url: str) -> None:
    for method in ("HEAD", "POST", "OPTIONS"):
        assert httpx.request(method, f"{poll_url}/group/one").status_code == 405
    for path in ("/", "/group", "/group?id=one"):
        for url in (poll_url, f"{api.base_url}/poll"):
            response = httpx.get(url + path)
            assert (response.status_code, response.text) == (400, "invalid request\n")


# Notifications, which clients do not acknowledge


def notify(api: httpx.Client, promise_id: str, client: str, size: int) -> None:
    """Resolve a promise with a value of a size, so that the server notifies a client."""
    create(api, promise_id)
    subscribe(api, promise_id, client)
    complete(api, promise_id, value="A" * size)


def read_until(server: Server, client: str, ids: set[str]) -> None:
    """Connect as a client, and read until the notifications of all ids have arrived."""
    missing = set(ids)
    with Listener(server.poll_url, "clients", client) as listener:
        while missing:
            message = listener.next()
            assert message is not None
            missing.discard(message["promise"]["id"])


def stall(server: Server) -> socket.socket:
    """Open the stream of the client `me` without reading from it."""
    stream = socket.socket()
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stream.connect(("127.0.0.1", server.poll_port))
    stream.settimeout(PATIENCE)
    stream.sendall(b"GET /clients/me HTTP/1.1\r\nhost: localhost\r\n\r\n")
    assert stream.recv(12) == b"HTTP/1.1 200"
    return stream


def ids_read_from(stream: socket.socket) -> set[str]:
    """Read a stream up to its end, which may be in the middle of a notification."""
    received = b""
    with suppress(ConnectionError):
        while part := stream.recv(2**20):
            received += part
    messages = [line for line in received.split(b"\n") if line.endswith(b"}")]
    return {json.loads(line.removeprefix(b"data: "))["promise"]["id"] for line in messages}


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_notification_that_was_not_read_is_sent_again(
    server: Server, http: httpx.Client, is_killed: bool
) -> None:
    ids = {f"p{i}" for i in range(20)}
    with closing(stall(server)) as stalled:
        for promise_id in ids:
            notify(http, promise_id, "me", 1_000_000)
        # Other clients are not delayed while one stalls.
        notify(http, "q", "other", 12)
        read_until(server, "other", {"q"})
        if is_killed:
            server.process.kill()
        else:
            stalled.shutdown(socket.SHUT_WR)
        told = ids_read_from(stalled)
    if is_killed:
        server.start()
    assert told != ids
    read_until(server, "me", ids - told)


def test_a_notification_that_was_read_is_not_sent_again(server: Server, http: httpx.Client) -> None:
    notify(http, "p", "me", 12)
    read_until(server, "me", {"p"})
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait() == 0
    with closing(open_database(str(server.db))) as db:
        (state,) = db.execute("SELECT state FROM tasks WHERE type = 'notify'").fetchone()
    assert state == "COMPLETED"
