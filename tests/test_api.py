"""The API port: statuses, error codes, and the content of answers."""

from __future__ import annotations

import base64
import http.client
import json
import time
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.api import FAR, create
from tests.listener import Listener

if TYPE_CHECKING:
    from cluster import Cluster

INVOKE = {"resonate:invoke": "poll://any@nobody-listens-here"}


def error(response: httpx.Response) -> tuple[int, int]:
    return response.status_code, response.json()["error"]["code"]


def test_a_new_promise_leaves_out_empty_fields(api: httpx.Client, name: str) -> None:
    before = time.time_ns() // 1_000_000
    response = api.post("/promises", json={"id": name, "timeout": FAR})
    promise = response.json()
    assert response.status_code == 201
    assert before <= promise.pop("createdOn") <= time.time_ns() // 1_000_000
    assert promise == {"id": name, "state": "PENDING", "param": {}, "value": {}, "timeout": FAR}


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


def test_the_key_marks_a_repetition(api: httpx.Client, name: str) -> None:
    body = {"id": name, "timeout": FAR}
    key = {"idempotency-key": "k"}
    assert api.post("/promises", json=body, headers=key).status_code == 201
    assert api.post("/promises", json=body, headers=key).status_code == 200
    assert error(api.post("/promises", json=body)) == (409, 40900)

    resolve, reject = {"state": "RESOLVED"}, {"state": "REJECTED"}
    url, strict = f"/promises/{name}", key | {"strict": "true"}
    assert api.patch(url, json=resolve, headers=key).status_code == 201
    assert api.patch(url, json=resolve, headers=strict).status_code == 200
    assert api.patch(url, json=reject, headers=key).status_code == 200
    assert error(api.patch(url, json=reject, headers=strict)) == (403, 40301)
    assert error(api.patch(url, json=resolve)) == (403, 40301)


@pytest.mark.parametrize(("state", "code"), [("REJECTED", 40302), ("REJECTED_CANCELED", 40303)])
def test_a_promise_can_fail(api: httpx.Client, name: str, state: str, code: int) -> None:
    create(api, name)
    assert api.patch(f"/promises/{name}", json={"state": state}).json()["state"] == state
    assert error(api.patch(f"/promises/{name}", json={"state": "RESOLVED"})) == (403, code)


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


def test_a_missing_promise_task_or_schedule_is_not_found(api: httpx.Client, name: str) -> None:
    assert error(api.get(f"/promises/{name}")) == (404, 40400)
    assert error(api.patch(f"/promises/{name}", json={"state": "RESOLVED"})) == (404, 40400)
    claim = {"id": name, "counter": 1, "processId": "me", "ttl": 1000}
    assert error(api.post("/tasks/claim", json=claim)) == (404, 40403)
    done = {"id": name, "counter": 1}
    assert error(api.post("/tasks/complete", json=done)) == (404, 40403)
    callback = {"rootPromiseId": "r", "recv": "poll://any@g", "timeout": FAR}
    assert error(api.post(f"/promises/callback/{name}", json=callback)) == (404, 40400)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/promises", b""),
        ("/promises", b"{"),
        ("/promises", b"[]"),
        ("/promises", b"{}"),
        ("/promises", b'{"id": ""}'),
        ("/promises", b'{"id": 1}'),
        ("/promises", b'{"id": "x", "timeout": "soon"}'),
        ("/promises", b'{"id": "x", "timeout": 9223372036854775808}'),
        ("/promises", b'{"id": "x", "param": {"data": "not base64!"}}'),
        ("/promises", b'{"id": "x", "tags": {"a": 1}}'),
        ("/promises", b'{"id": "\xff"}'),
        ("/promises/task", b'{"promise": {"id": "x"}, "task": {"processId": ""}}'),
        ("/promises/task", b'{"promise": {"id": "x"}, "task": {"processId": "p", "ttl": -1}}'),
        ("/promises/callback/x", b'{"rootPromiseId": "r"}'),
        ("/promises/subscribe/x", b'{"recv": "poll://any@g"}'),
        ("/tasks/claim", b'{"id": "x", "counter": 1}'),
        ("/tasks/complete", b'{"id": "x"}'),
        ("/tasks/heartbeat", b"{}"),
    ],
)
def test_a_malformed_body_is_refused(api: httpx.Client, path: str, body: bytes) -> None:
    response = api.post(path, content=body)
    assert error(response) == (400, 40000)
    assert response.json()["error"]["details"][0]["message"]


def test_a_malformed_header_is_refused(api: httpx.Client, name: str) -> None:
    response = api.post("/promises", json={"id": name}, headers={"strict": "perhaps"})
    assert error(response) == (400, 40000)
    assert error(api.patch(f"/promises/{name}", json={"state": "PENDING"})) == (400, 40000)


def test_a_task_from_claim_to_completion(api: httpx.Client, name: str) -> None:
    promise = create(api, name, tags=INVOKE)
    task_id = f"__invoke:{name}"
    claim = {"id": task_id, "counter": 1, "processId": "me", "ttl": 60_000}
    response = api.post("/tasks/claim", json=claim)
    assert response.status_code == 201
    assert response.json() == {
        "type": "invoke",
        "promises": {
            "root": {"id": name, "href": f"{api.base_url}/promises/{name}", "data": promise}
        },
    }
    assert error(api.post("/tasks/claim", json=claim)) == (403, 40306)
    beat = api.post("/tasks/heartbeat", json={"processId": "me"})
    assert (beat.status_code, beat.json()) == (200, {"tasksAffected": 1})

    done = {"id": task_id, "counter": 1}
    assert error(api.post("/tasks/complete", json=done | {"counter": 2})) == (403, 40308)
    response = api.post("/tasks/complete", json=done)
    task = response.json()
    assert response.status_code == 201
    assert task.pop("completedOn") >= task.pop("createdOn")
    assert task == {"id": task_id, "counter": 1, "timeout": FAR, "rootPromiseId": name}
    assert api.post("/tasks/complete", json=done).status_code == 200
    assert error(api.post("/tasks/claim", json=claim)) == (403, 40307)


def test_a_promise_with_its_task(api: httpx.Client, name: str) -> None:
    body = {
        "promise": {"id": name, "timeout": FAR, "tags": INVOKE},
        "task": {"processId": f"process of {name}", "ttl": 60_000},
    }
    headers = {"idempotency-key": name}
    response = api.post("/promises/task", json=body, headers=headers)
    assert response.status_code == 201
    assert response.json()["promise"]["id"] == name
    task = response.json()["task"]
    assert (task["id"], task["processId"]) == (f"__invoke:{name}", f"process of {name}")
    response = api.post("/promises/task", json=body, headers=headers)
    assert (response.status_code, response.json()["task"]) == (200, None)


def test_a_callback_is_created_once(api: httpx.Client, name: str) -> None:
    promise = create(api, name)
    body = {"rootPromiseId": "root", "recv": "poll://any@g/me", "timeout": FAR}
    response = api.post(f"/promises/callback/{name}", json=body)
    assert response.status_code == 201
    assert response.json()["promise"] == promise
    callback = response.json()["callback"]
    assert callback.pop("createdOn") >= promise["createdOn"]
    assert callback == {
        "id": f"__resume:root:{name}",
        "promiseId": name,
        "rootPromiseId": "root",
        "timeout": FAR,
    }
    response = api.post(f"/promises/callback/{name}", json=body)
    assert (response.status_code, response.json()["callback"]) == (200, None)
    itself = body | {"rootPromiseId": name}
    assert error(api.post(f"/promises/callback/{name}", json=itself)) == (400, 40000)


def test_a_completed_promise_needs_no_callback(api: httpx.Client, name: str) -> None:
    create(api, name)
    api.patch(f"/promises/{name}", json={"state": "RESOLVED"})
    body = {"id": "me", "recv": "poll://uni@g/me", "timeout": FAR}
    response = api.post(f"/promises/subscribe/{name}", json=body)
    assert (response.status_code, response.json()["callback"]) == (200, None)
    assert response.json()["promise"]["state"] == "RESOLVED"


def test_the_deprecated_routes_name_the_promise_in_the_body(api: httpx.Client, name: str) -> None:
    create(api, name)
    body = {"promiseId": name, "rootPromiseId": "root", "recv": "poll://any@g", "timeout": FAR}
    response = api.post("/callbacks", json=body)
    assert response.status_code == 201
    assert response.json()["callback"]["id"] == f"__resume:root:{name}"
    body = {"id": "me", "promiseId": name, "recv": "poll://any@g", "timeout": FAR}
    response = api.post("/subscriptions", json=body)
    assert response.status_code == 201
    assert response.json()["callback"]["id"] == f"__notify:{name}:me"
    assert error(api.post("/subscriptions", json=body | {"promiseId": ""})) == (404, 40400)


@pytest.mark.parametrize(
    ("method", "path", "status", "location"),
    [
        ("POST", "/promises/?a=b", 307, "/promises?a=b"),
        ("GET", "/ping/", 301, "/ping"),
        ("GET", "/tasks/claim/a%20b/1/", 301, "/tasks/claim/a%20b/1"),
        ("PATCH", "/promises", 307, "/promises/"),
        ("POST", "/promises/callback", 307, "/promises/callback/"),
        ("GET", "/poll", 301, "/poll/"),
    ],
)
def test_a_slash_too_many_or_too_few_is_redirected(
    api: httpx.Client, method: str, path: str, status: int, location: str
) -> None:
    response = api.request(method, path)
    assert (response.status_code, response.headers["location"]) == (status, location)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/nowhere"), ("PUT", "/promises/x"), ("GET", "/tasks/claim/"), ("POST", "/poll/g/i")],
)
def test_an_unknown_route_is_not_found(api: httpx.Client, method: str, path: str) -> None:
    response = api.request(method, path)
    assert (response.status_code, response.text) == (404, "404 page not found")


def test_a_head_request_does_not_claim_a_task(api: httpx.Client, name: str) -> None:
    create(api, name, tags=INVOKE)
    assert api.head(f"/tasks/claim/__invoke:{name}/1").status_code == 404
    assert api.get(f"/tasks/claim/__invoke:{name}/1").status_code == 201


def test_an_answer_names_the_version_of_the_protocol(api: httpx.Client, name: str) -> None:
    for response in (api.get(f"/promises/{name}"), api.post("/promises", json={"id": name})):
        assert response.headers["resonate-version"] == "0.8.2"
        assert response.headers["content-type"] == "application/json; charset=utf-8"


def test_an_error_has_the_words_of_the_real_server(api: httpx.Client, name: str) -> None:
    response = api.get(f"/promises/{name}")
    assert response.json() == {
        "error": {
            "code": 40400,
            "message": "The specified promise was not found",
            "details": [
                {
                    "@type": "RequestError",
                    "message": "Request errors are not retryable since they are caused by "
                    "invalid client requests",
                    "domain": "request",
                    "metadata": {"url": "https://docs.resonatehq.io/operate/errors#40400"},
                }
            ],
        }
    }


def test_an_error_lists_all_missing_fields(api: httpx.Client) -> None:
    details = api.post("/tasks/claim", json={"ttl": -1, "id": None}).json()["error"]["details"]
    assert [detail["message"] for detail in details] == [
        "The field id is required.",
        "The field counter is required.",
        "The field processid is required.",
        "The field ttl must be be at least length 0.",
    ]


@pytest.mark.parametrize("counter", ["0", "-1", "-9223372036854775808", "9223372036854775807"])
def test_a_counter_out_of_range_is_a_wrong_counter(
    api: httpx.Client, name: str, counter: str
) -> None:
    for action in ("claim", "complete", "drop"):
        assert error(api.get(f"/tasks/{action}/{name}/{counter}")) == (404, 40403)
    fence = {"task-id": name, "task-counter": counter}
    assert error(api.post("/promises", json={"id": name}, headers=fence)) == (412, 41200)


@pytest.mark.parametrize("counter", ["9223372036854775808", "-9223372036854775809", "x", "1_0"])
def test_a_counter_must_be_an_integer_of_64_bits(
    api: httpx.Client, name: str, counter: str
) -> None:
    for action in ("claim", "complete", "drop", "heartbeat"):
        assert error(api.get(f"/tasks/{action}/{name}/{counter}")) == (400, 40000)
    fence = {"task-id": name, "task-counter": counter}
    assert error(api.post("/promises", json={"id": name}, headers=fence)) == (400, 40000)


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


def test_invalid_utf_8_is_refused(api: httpx.Client, name: str) -> None:
    create(api, name)
    for path, content in (
        (f"/promises/callback/{name}", b'{"rootPromiseId": "r", "recv": "a\xff"}'),
        (f"/promises/subscribe/{name}", b'{"id": "r", "recv": {"data": "\xff"}}'),
    ):
        assert error(api.post(path, content=content)) == (400, 40000)


def test_a_timer_resumes_the_function_that_waits_for_it(
    api: httpx.Client, poll_url: str, name: str
) -> None:
    body = {"id": name, "recv": f"poll://uni@sleepers/{name}", "timeout": FAR}
    with Listener(poll_url, "sleepers", name) as sleeper:
        due = time.time_ns() // 1_000_000 + 1_000
        create(api, name, timeout=due, tags={"resonate:timeout": "true"})
        assert api.post(f"/promises/subscribe/{name}", json=body).status_code == 201
        message = sleeper.next()
    assert message is not None
    promise = message["promise"]
    assert (promise["state"], promise["completedOn"]) == ("RESOLVED", due)
    assert time.time_ns() // 1_000_000 >= due
