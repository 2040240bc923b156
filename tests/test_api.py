"""The API port: what the comparison with the real server's answers leaves out."""

from __future__ import annotations

import base64
import http.client
import json
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.api import FAR, create

if TYPE_CHECKING:
    from demo.cluster import Cluster


def test_a_promise_goes_round(api: httpx.Client, name: str) -> None:
    data = base64.b64encode(b"\x00\xff any bytes").decode()
    param = {"headers": {"a": "b"}, "data": data}
    created = create(api, name, key="key", param=param, tags={"t": "g"})
    assert created["param"] == param
    assert created["tags"] == {"t": "g"}
    assert created["idempotencyKeyForCreate"] == "key"
    assert api.get(f"/promises/{name}").json() == created

    value = {"headers": {"c": "d"}, "data": data}
    response = api.patch(
        f"/promises/{name}",
        json={"state": "RESOLVED", "value": value},
        headers={"idempotency-key": "done", "strict": "True"},
    )
    completed = response.json()
    assert response.status_code == 201
    assert completed["value"] == value
    assert completed["idempotencyKeyForComplete"] == "done"
    assert completed["completedOn"] >= completed["createdOn"]
    assert api.get(f"/promises/{name}").json() == completed


@pytest.mark.parametrize(
    "odd", ["with/slash", "with space", "with%percent", 'with"quote', "ünï→codé", "a?b#c", "x\ny"]
)
def test_an_id_is_any_text(api: httpx.Client, name: str, odd: str) -> None:
    promise_id = f"{name}-{odd}"
    create(api, promise_id)
    url = httpx.URL(str(api.base_url)).copy_with(raw_path=_path("/promises/", promise_id))
    assert api.get(url).json()["id"] == promise_id


def _path(prefix: str, text: str) -> bytes:
    return (prefix + "".join(f"%{byte:02x}" for byte in text.encode())).encode()


def test_an_answer_names_the_version_of_the_protocol(api: httpx.Client, name: str) -> None:
    for response in (api.get(f"/promises/{name}"), api.post("/promises", json={"id": name})):
        assert response.headers["resonate-version"] == "0.8.2"
        assert response.headers["content-type"] == "application/json; charset=utf-8"


def test_a_header_is_trimmed_and_is_utf_8(devserver: Cluster, name: str) -> None:
    # httpx refuses to send a space at the end of a header.
    host, port = devserver.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port))
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
