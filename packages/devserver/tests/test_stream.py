"""The message port: which process gets a message, and what happens to an unclaimed one."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from uuid import uuid4

import httpx
import pytest

from tests.api import FAR, claim, invoke
from tests.listener import Listener


@pytest.fixture
def group() -> str:
    return f"Group-{uuid4().hex}"


def test_an_invocation_names_its_task(api: httpx.Client, poll_url: str, group: str) -> None:
    with Listener(poll_url, group, "one") as one:
        promise = invoke(api, group, f"poll://any@{group}")
        base = str(api.base_url)
        assert one.next() == {
            "type": "invoke",
            "task": {
                "id": f"__invoke:{group}",
                "counter": 1,
                "timeout": FAR,
                "rootPromiseId": group,
                "createdOn": promise["createdOn"],
            },
            "href": {
                "base": base,
                "claim": f"{base}/tasks/claim/__invoke:{group}/1",
                "complete": f"{base}/tasks/complete/__invoke:{group}/1",
                "heartbeat": f"{base}/tasks/heartbeat/__invoke:{group}/1",
            },
        }


def test_a_group_is_served_in_turn(api: httpx.Client, poll_url: str, group: str) -> None:
    with ExitStack() as stack:
        names = ("one", "two", "three")
        members = [stack.enter_context(Listener(poll_url, group, name)) for name in names]
        for i in range(9):
            invoke(api, f"{group}-{i}", f"poll://any@{group}")
        got = [member.next_task() for member in members for _ in range(3)]
    assert Counter(got) == Counter((f"__invoke:{group}-{i}", 1) for i in range(9))


def test_uni_waits_for_the_process_that_it_names(
    api: httpx.Client, poll_url: str, group: str
) -> None:
    with Listener(poll_url, group, "one") as one:
        invoke(api, f"{group}-uni", f"poll://uni@{group}/two")
        invoke(api, f"{group}-any", f"poll://any@{group}")
        assert one.next_task() == (f"__invoke:{group}-any", 1)
        with Listener(poll_url, group, "two") as two:
            assert two.next_task() == (f"__invoke:{group}-uni", 1)


def test_a_message_waits_until_a_process_connects(
    api: httpx.Client, poll_url: str, group: str
) -> None:
    invoke(api, group, f"poll://any@{group}")
    with Listener(poll_url, group, "one") as one:
        assert one.next_task() == (f"__invoke:{group}", 1)


def test_another_member_gets_the_message_of_a_process_that_disconnects(
    api: httpx.Client, poll_url: str, group: str
) -> None:
    with Listener(poll_url, group, "one") as one:
        invoke(api, group, f"poll://any@{group}")
        old = one.next_task()
        with Listener(poll_url, group, "two") as two:
            one.close()
            task = two.next_task()
            assert task == (f"__invoke:{group}", 2)
            assert claim(api, old, "one").status_code == 403
            assert claim(api, task, "two").status_code == 201


def test_claimed_tasks_go_to_another_process_after_the_end_of_theirs(
    api: httpx.Client, poll_url: str, group: str
) -> None:
    with Listener(poll_url, group, "one") as one:
        invoke(api, group, f"poll://any@{group}")
        task_id, counter = one.next_task()
        assert claim(api, (task_id, counter), "one").status_code == 201
        with Listener(poll_url, group, "two") as two:
            one.close()
            assert two.next_task() == (task_id, counter + 1)
            late = api.post("/tasks/complete", json={"id": task_id, "counter": counter})
            assert late.status_code == 403, "it runs after all, but too late"
            assert claim(api, (task_id, counter + 1), "two").status_code == 201


def test_a_claimed_task_stays_until_its_lease_ends(
    api: httpx.Client, poll_url: str, group: str
) -> None:
    with Listener(poll_url, group, "one") as one:
        invoke(api, group, f"poll://any@{group}")
        task = one.next_task()
        assert claim(api, task, "one", ttl=300).status_code == 201
        assert claim(api, task, "two").status_code == 403
        assert one.next_task() == (f"__invoke:{group}", 2)


def test_a_disconnected_subscriber_is_notified_when_it_reconnects(
    api: httpx.Client, poll_url: str, group: str
) -> None:
    promise = invoke(api, group, f"poll://any@{group}")
    body = {"id": "me", "recv": f"poll://uni@{group}/me", "timeout": FAR}
    api.post(f"/promises/subscribe/{promise['id']}", json=body)
    promise = api.patch(f"/promises/{promise['id']}", json={"state": "RESOLVED"}).json()
    with Listener(poll_url, group, "me") as me:
        assert me.next() == {"type": "notify", "promise": promise}


def test_the_newest_stream_of_a_name_gets_its_messages(
    api: httpx.Client, poll_url: str, group: str
) -> None:
    with Listener(poll_url, group, "one") as older:
        with Listener(poll_url, group, "one") as newer:
            invoke(api, f"{group}-1", f"poll://uni@{group}/one")
            task = newer.next_task()
            assert task == (f"__invoke:{group}-1", 1)
            claim(api, task, "one").raise_for_status()
        invoke(api, f"{group}-2", f"poll://uni@{group}/one")
        # Before the server notices the end of the newer stream, it sends the message there.
        assert older.next_task()[0] == f"__invoke:{group}-2"


def test_the_api_port_has_the_same_stream(api: httpx.Client, group: str) -> None:
    with Listener(f"{api.base_url}/poll", group, "one") as one:
        invoke(api, group, f"poll://uni@{group}/one")
        assert one.next_task() == (f"__invoke:{group}", 1)


@pytest.mark.parametrize("method", ["HEAD", "POST", "OPTIONS"])
def test_only_a_get_request_opens_a_stream(
    api: httpx.Client, poll_url: str, group: str, method: str
) -> None:
    with Listener(poll_url, group, "one") as one:
        response = httpx.request(method, f"{poll_url}/{group}/one")
        assert response.status_code == 405
        invoke(api, group, f"poll://uni@{group}/one")
        assert one.next_task() == (f"__invoke:{group}", 1)


@pytest.mark.parametrize("path", ["/", "/group", "/group?id=one"])
def test_a_stream_needs_a_group_and_an_id(api: httpx.Client, poll_url: str, path: str) -> None:
    for url in (poll_url, f"{api.base_url}/poll"):
        response = httpx.get(url + path)
        assert (response.status_code, response.text) == (400, "invalid request\n")
