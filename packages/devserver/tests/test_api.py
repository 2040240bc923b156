"""The API port: what the comparison with the real server's answers leaves out."""

from __future__ import annotations

import base64
import http.client
import json
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from tests.api import FAR, create

if TYPE_CHECKING:
    import httpx

    from tests.programs import Server


def test_a_promise_goes_round(api: httpx.Client, name: str) -> None:
    data = base64.b64encode(b"\x00\xff any bytes").decode()
    param = {"headers": {"a": "b"}, "data": data}
    created = create(api, name, key="key", param=param, tags={"t": "g"})
    assert (created["param"], created["tags"]) == (param, {"t": "g"})
    assert created["idempotencyKeyForCreate"] == "key"
    assert api.get(f"/promises/{name}").json() == created

    body = {"state": "RESOLVED", "value": {"headers": {"c": "d"}, "data": data}}
    response = api.patch(f"/promises/{name}", json=body, headers={"idempotency-key": "done"})
    completed = response.json()
    assert (completed["value"], completed["idempotencyKeyForComplete"]) == (body["value"], "done")
    assert completed["completedOn"] >= completed["createdOn"]
    assert api.get(f"/promises/{name}").json() == completed
    assert response.headers["resonate-version"] == "0.8.2"
    assert response.headers["content-type"] == "application/json; charset=utf-8"


@pytest.mark.parametrize(
    "odd",
    ["with/slash", "with space", "with%percent", 'with"quote', "ünï→codé", "a?b#c", "x" * 8_000],
)
def test_an_id_is_any_text(api: httpx.Client, name: str, odd: str) -> None:
    promise_id = f"{name}-{odd}"
    create(api, promise_id)
    assert api.get(f"/promises/{quote(promise_id, safe='')}").json()["id"] == promise_id


@pytest.mark.parametrize("odd", ["x\ny", "\x1b]52;c;eA==\x07", "\x7f", "\x9b31m", "x" * 8_193])
def test_control_characters_and_long_ids_are_refused(api: httpx.Client, odd: str) -> None:
    recv = {"recv": "poll://any@g", "timeout": FAR}
    schedule = {"id": "s", "cron": "* * * * *", "promiseId": "p"}
    for path, body in (
        ("/promises", {"id": odd}),
        ("/promises/task", {"promise": {"id": odd}, "task": {"processId": "p", "ttl": 1}}),
        ("/promises/callback/p", {"rootPromiseId": odd} | recv),
        ("/promises/subscribe/p", {"id": odd} | recv),
        ("/schedules", schedule | {"id": odd}),
        ("/schedules", schedule | {"promiseId": odd}),
    ):
        assert api.post(path, json=body).status_code == 400, path


def test_tags_patterns_and_headers_have_limits(api: httpx.Client, name: str) -> None:
    tags = {f"tag {i}": "x" * 1_000 for i in range(60)}
    create(api, name, tags=tags)
    assert api.post("/promises", json={"id": name, "tags": tags | {"y": "x" * 5_000}}).is_error
    assert api.get(f"/promises?id={'x' * 1_025}").status_code == 400
    headers = {"idempotency-key": "x" * 8_193}
    assert api.post("/promises", json={"id": f"{name}-2"}, headers=headers).status_code == 400


def test_a_header_is_trimmed_and_is_utf_8(devserver: Server, name: str) -> None:
    # httpx refuses to send a space at the end of a header.
    connection = http.client.HTTPConnection("127.0.0.1", devserver.port)
    headers = {"idempotency-key": "\t sch\u00fcssel \t".encode(), "strict": b"true "}
    body = f'{{"id": "{name}", "timeout": {FAR}}}'
    connection.request("POST", "/promises", body, headers)
    response = connection.getresponse()
    assert response.status == 201
    assert json.load(response)["idempotencyKeyForCreate"] == "sch\u00fcssel"
    connection.close()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/promises", b'{"id": "\xff"}'),
        ("/promises", b'{"id": "x", "tags": {"a": 1}}'),
        ("/promises/callback/x", b'{"rootPromiseId": "r", "recv": "a\xff"}'),
        ("/promises/subscribe/x", b'{"id": "r", "recv": {"data": "\xff"}}'),
    ],
)
def test_invalid_utf_8_and_tags_are_refused(api: httpx.Client, path: str, body: bytes) -> None:
    response = api.post(path, content=body)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == 40000
