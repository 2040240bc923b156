"""Requests that SDKs do not send: the server answers clearly, and keeps running.

The recorded answers in `differential` have the ordinary requests, and malformed ones.
"""

from __future__ import annotations

import json
import resource
import signal
import socket
from base64 import urlsafe_b64encode
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devserver.http.requests import MAX_BODY
from devserver.store.models import MAX_ID, MAX_PATTERN, MAX_TAGS
from tests.api import create
from tests.programs import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

TARGETS = """
POST /promises, POST /promises/task, PATCH /promises/{}, GET /promises/{}, GET /promises?id={},
GET /promises?id={}&tags[{}]=x, GET /promises?id=x&cursor={}, POST /promises/callback/{},
POST /promises/subscribe/{}, POST /callbacks, POST /subscriptions, POST /tasks/claim,
POST /tasks/complete, POST /tasks/drop, POST /tasks/heartbeat, GET /tasks/claim/{}/1,
POST /schedules, GET /schedules/{}, DELETE /schedules/{}, GET /schedules?id={}
""".strip().replace("\n", " ").split(", ")  # fmt: skip
FIELDS = ["id", "param", "timeout", "tags", "state", "value", "headers", "data", "recv", "counter"]
FIELDS += ["processId", "ttl", "rootPromiseId", "promise", "task", "cron", "promiseId", "type"]
HEADERS = [b"idempotency-key", b"strict", b"task-id", b"task-counter", b"traceparent"]
texts = st.text(st.characters(), max_size=20) | st.sampled_from(
    ["x", "RESOLVED", "AQI=", "default"]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(FIELDS) | texts, inner, max_size=8)
    ),
    max_leaves=12,
)
header = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"))
headers = st.dictionaries(
    st.sampled_from(HEADERS), header.map(lambda text: text.strip().encode("latin-1")), max_size=2
)


@pytest.fixture(scope="module")
def api() -> Iterator[httpx.Client]:
    with Server() as server, httpx.Client(base_url=server.url, timeout=60) as api:
        yield api
        assert api.get("/ping").status_code == 200
        assert server.process.errors == []


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    target=st.sampled_from(TARGETS), name=texts, body=values, head=headers, cut=st.integers(0, 300)
)
def test_any_request_has_a_clear_answer(
    api: httpx.Client, target: str, name: str, body: Any, head: dict[bytes, bytes], cut: int
) -> None:
    method, _, path = target.partition(" ")
    path = path.replace("{}", quote(name.encode("utf-8", "surrogatepass")))
    url = api.base_url.copy_with(raw_path=path.encode())
    content = json.dumps(body).encode()[: cut or None]
    response = api.request(method, url, content=content, headers=list(head.items()))
    assert response.status_code < 500, response.text


def test_an_answer_names_the_version_of_the_protocol(api: httpx.Client) -> None:
    """The TypeScript SDK warns without it."""
    assert api.get("/promises/absent").headers["resonate-version"] == "0.8.2"


NESTED = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("[" * 100_000, 400),
        ('{"id": "x", "param": ' + NESTED + "}", 400),
        ('{"id": null, "recv": ' + '{"a":' * 50_000 + "1" + "}" * 50_000 + "}", 400),
        ('{"id": "' + "x" * MAX_BODY + '"}', 413),
        ('{"id": "\\ud800"}', 400),
        (b'{"id": "\xff"}', 400),
        ('{"id": "x", "tags": {"a": 1}}', 400),
        ('{"id": "x", "timeout": ' + "9" * 5_000 + "}", 400),
        ('{"id": "x", "tags": {"resonate:invoke": "' + "[" * 50_000 + '"}}', 201),
        ('{"id": "delay", "tags": {"resonate:delay": "' + "9" * 5_000 + '"}}', 201),
        ('{"id": "long", "tags": {"": "' + "x" * (MAX_TAGS + 1) + '"}}', 400),
        ('{"id": "' + "x" * MAX_ID + '"}', 201),
    ],
)
def test_odd_bodies_have_a_clear_answer(api: httpx.Client, body: str, status: int) -> None:
    response = api.post("/promises", content=body)
    assert response.status_code == status, response.text[:300]


@pytest.mark.parametrize(
    "odd", ["x\ny", "\x1b]52;c;eA==\x07", "\x7f", "\x9b31m", "x" * (MAX_ID + 1)]
)
def test_control_characters_and_long_ids_are_refused(api: httpx.Client, odd: str) -> None:
    for path, body in (
        ("/promises", {"id": odd}),
        ("/promises/task", {"promise": {"id": odd}, "task": {"processId": "p", "ttl": 1}}),
        ("/promises/callback/p", {"rootPromiseId": odd, "recv": "poll://any@g"}),
        ("/promises/subscribe/p", {"id": odd, "recv": "poll://any@g"}),
        ("/schedules", {"id": odd, "cron": "* * * * *", "promiseId": "p"}),
        ("/schedules", {"id": "s", "cron": "* * * * *", "promiseId": odd}),
    ):
        assert api.post(path, json=body).status_code == 400, path


def test_long_queries_and_headers_are_refused(api: httpx.Client) -> None:
    nested = urlsafe_b64encode(b"[" * 12_000 + b"]" * 12_000).decode()
    for query in (f"cursor={nested}", *(f"id={wild * 20_000}" for wild in ("x", "*", "%25"))):
        assert api.get(f"/promises?{query}").status_code == 400
    assert api.get(f"/promises?id={'x' * (MAX_PATTERN + 1)}").status_code == 400
    headers = {"idempotency-key": "x" * (MAX_ID + 1)}
    assert api.post("/promises", json={"id": "y"}, headers=headers).status_code == 400


def test_a_search_for_large_promises_has_several_pages(api: httpx.Client) -> None:
    ids = [f"large{i}" for i in range(8)]
    for promise_id in ids:
        create(api, promise_id, param={"data": "A" * 3_000_000})
    found: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        answer = api.get("/promises", params={"id": "large*", "cursor": cursor})
        assert len(answer.content) < 10_000_000
        found += [promise["id"] for promise in answer.json()["promises"]]
        cursor = answer.json()["cursor"]
    assert found == ids[::-1]


def test_unfinished_requests_and_unread_answers_delay_nobody() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    post = b"POST /promises HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{"
    get = b"GET /promises/large HTTP/1.1\r\nhost: localhost\r\n\r\n"
    with Server() as server, ExitStack() as stack:
        api = stack.enter_context(httpx.Client(base_url=server.url, timeout=60))
        create(api, "large", param={"data": "A" * 15_000_000})
        # More connections than the usual limit of open files.
        for begin in [b"", b"GET /ping HTTP/1.1\r\nhost:", post] * 400 + [get] * 10:
            connection = socket.create_connection(("127.0.0.1", server.port))
            stack.enter_context(connection).sendall(begin)
        assert api.get("/ping").status_code == 200
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait() == 0
        assert server.process.errors == []
