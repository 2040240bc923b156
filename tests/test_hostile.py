"""Input that SDKs do not send: the server answers clearly, and keeps running."""

from __future__ import annotations

import json
import resource
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from demo.cluster import Cluster
from devserver.requests import MAX_BODY

if TYPE_CHECKING:
    from collections.abc import Iterator

PATHS = [
    "POST /promises",
    "POST /promises/task",
    "PATCH /promises/{}",
    "GET /promises/{}",
    "POST /promises/callback/{}",
    "POST /promises/subscribe/{}",
    "POST /callbacks",
    "POST /subscriptions",
    "POST /tasks/claim",
    "POST /tasks/complete",
    "POST /tasks/drop",
    "POST /tasks/heartbeat",
    "GET /tasks/claim/{}/1",
    "POST /schedules",
    "GET /schedules/{}",
    "DELETE /schedules/{}",
    "GET /promises?id={}",
    "GET /promises?id={}&tags[{}]=x",
    "GET /promises?id=x&cursor={}",
    "GET /schedules?id={}",
]
FIELDS = ["id", "param", "timeout", "tags", "state", "value", "headers", "data", "recv", "counter"]
FIELDS += ["processId", "ttl", "rootPromiseId", "promise", "task", "cron", "promiseId", "type"]
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
headers = st.dictionaries(
    st.sampled_from([b"idempotency-key", b"strict", b"task-id", b"task-counter", b"traceparent"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f")).map(
        lambda text: text.strip().encode("latin-1")
    ),
    max_size=2,
)


@pytest.fixture(scope="module")
def hostile() -> Iterator[Cluster]:
    with Cluster() as cluster:
        yield cluster
        # The server has not printed an error, and still answers.
        assert httpx.get(f"{cluster.url}/ping").status_code == 200
        assert cluster.server.errors == []


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with httpx.Client() as client:
        yield client


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(path=st.sampled_from(PATHS), name=texts, body=values, head=headers, cut=st.integers(0, 300))
def test_any_request_has_a_clear_answer(
    hostile: Cluster,
    client: httpx.Client,
    path: str,
    name: str,
    body: Any,
    head: dict[bytes, bytes],
    cut: int,
) -> None:
    method, target = path.split(" ", 1)
    quoted = quote(name.encode("utf-8", "surrogatepass"))
    content = json.dumps(body).encode()
    if cut < len(content):
        content = content[:cut]
    url = httpx.URL(hostile.url).copy_with(raw_path=target.replace("{}", quoted).encode())
    response = client.request(method, url, content=content, headers=list(head.items()))
    assert response.status_code < 500, response.text


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[" * 100_000, 400),
        (b'{"id": "x", "recv": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400),
        (b'{"id": "' + b"x" * MAX_BODY + b'"}', 413),
        (b'{"id": "\\ud800"}', 400),
        (b'{"id": "x", "timeout": ' + b"9" * 5_000 + b"}", 400),
        (b'{"id": "x", "tags": {"resonate:invoke": "' + b"[" * 50_000 + b'"}}', 201),
        (b'{"id": "delay", "tags": {"resonate:delay": "' + b"9" * 5_000 + b'"}}', 201),
    ],
)
def test_monstrous_bodies_have_a_clear_answer(hostile: Cluster, body: bytes, status: int) -> None:
    response = httpx.post(f"{hostile.url}/promises", content=body, timeout=30)
    assert response.status_code == status, response.text[:300]


def test_a_pattern_may_not_be_endless(hostile: Cluster) -> None:
    for wild in ("x", "*", "%25"):
        response = httpx.get(f"{hostile.url}/promises?id={wild * 20_000}", timeout=30)
        assert response.status_code == 400


def test_ids_that_make_the_same_task_do_no_harm(hostile: Cluster) -> None:
    far = 4_000_000_000_000
    with httpx.Client(base_url=hostile.url) as api:
        for leaf, root in (("b:c", "a"), ("c", "a:b")):
            api.post("/promises", json={"id": leaf, "timeout": far})
            body = {"rootPromiseId": root, "recv": "poll://any@g", "timeout": far}
            assert api.post(f"/promises/callback/{leaf}", json=body).status_code == 201
            done = api.patch(f"/promises/{leaf}", json={"state": "RESOLVED"})
            assert done.status_code == 201


def test_a_large_value_is_kept(hostile: Cluster) -> None:
    data = "A" * (MAX_BODY // 2)
    body = {"id": "large", "timeout": 4_000_000_000_000, "param": {"data": data}}
    assert httpx.post(f"{hostile.url}/promises", json=body, timeout=30).status_code == 201
    answer = httpx.get(f"{hostile.url}/promises/large", timeout=30).json()
    assert answer["param"]["data"] == data


@pytest.mark.parametrize(
    "begin",
    [
        b"",
        b"GE",
        b"GET /promises/x HTTP/1.1\r\nhost:",
        b"POST /promises HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{",
    ],
)
def test_requests_that_never_end_do_not_block_others(begin: bytes) -> None:
    with Cluster() as cluster, ExitStack() as stack:
        host, port = cluster.url.removeprefix("http://").split(":")
        for _ in range(200):
            half_open = stack.enter_context(socket.create_connection((host, int(port))))
            half_open.sendall(begin)
        for _ in range(10):
            assert httpx.get(f"{cluster.url}/ping").status_code == 200
        cluster.server.stop()
        assert cluster.server.wait() == 0
        assert cluster.server.errors == []


def test_thousands_may_listen() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with Cluster() as cluster, ExitStack() as stack:
        host, port = cluster.poll_url.removeprefix("http://").split(":")
        streams = []
        for i in range(2_000):
            stream = stack.enter_context(socket.create_connection((host, int(port))))
            stream.sendall(f"GET /crowd/{i} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
            streams.append(stream)
        for stream in streams:
            assert stream.recv(12) == b"HTTP/1.1 200"
        body = {"id": "p", "timeout": 4_000_000_000_000}
        tags = {"resonate:invoke": "poll://uni@crowd/1999"}
        assert httpx.post(f"{cluster.url}/promises", json=body | {"tags": tags}).status_code == 201
        received = b""
        while b"__invoke:p" not in received:
            received += streams[1999].recv(65536)
