"""A server that is killed at any moment still has every change that it acknowledged."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import pytest

from tests.api import claim, complete, complete_task, create, invoke, wait_for
from tests.listener import Listener

if TYPE_CHECKING:
    from tests.programs import Server


class Told(NamedTuple):
    """What the server has acknowledged: its latest answers, and the roots of the tasks."""

    promises: dict[str, dict[str, Any]]
    claimed: list[str]
    waiting: list[str]


def work(server: Server, name: str, killed_at: int | None) -> Told:
    """Run functions that wait for a promise until the server is killed, here or by another."""
    told = Told({}, [], [])
    # The test has a limit.
    with suppress(httpx.TransportError), httpx.Client(base_url=server.url, timeout=None) as api:  # noqa: S113
        for i in count():
            root, leaf = f"{name}.{i}", f"{name}.{i}.leaf"
            told.promises[root] = invoke(api, root, "poll://any@workers")
            claim(api, (f"__invoke:{root}", 1), name).raise_for_status()
            told.claimed.append(root)
            if i == killed_at:
                server.process.kill()
            told.promises[leaf] = create(api, leaf)
            wait_for(api, root, leaf)
            complete_task(api, (f"__invoke:{root}", 1)).raise_for_status()
            told.waiting.append(root)
            if i % 2:
                told.promises[leaf] = complete(api, leaf, value="A" * 100 * i)
    return told


@pytest.mark.parametrize("seed", range(3))
def test_acknowledged_changes_survive_a_kill_at_any_moment(
    server: Server, http: httpx.Client, seed: int
) -> None:
    killed_at = [Random(seed).randrange(5, 30), None, None, None]
    with ThreadPoolExecutor(4) as pool:
        clients = list(pool.map(work, [server] * 4, "abcd", killed_at))
    server.start()
    for client in clients:
        for promise_id, told in client.promises.items():
            held = http.get(f"/promises/{promise_id}").json()
            if told["state"] == "PENDING":  # the killed server may have completed it
                held |= {"state": "PENDING", "value": told["value"]}
                held.pop("completedOn", None)
            assert held == told
        for root in client.claimed:
            assert claim(http, (f"__invoke:{root}", 1), "another").status_code == 403
        for root in client.waiting:
            http.patch(f"/promises/{root}.leaf", json={"state": "RESOLVED"})  # if it is pending
    resumes = {f"__resume:{root}:{root}.leaf" for client in clients for root in client.waiting}
    with Listener(server.poll_url, "workers", "me") as me:
        while resumes:
            task = me.next_task()
            claim(http, task, "me").raise_for_status()
            resumes.discard(task[0])
