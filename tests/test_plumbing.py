"""The scripts' connection: what it makes of a server that goes away, and of refusals."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING

import httpx
import pytest

from plumbing.store import RefusedError, Store
from tests.listener import Listener

if TYPE_CHECKING:
    from collections.abc import Iterator

    from demo.processes import Cluster

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
