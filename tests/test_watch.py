"""`GET /watch`: what somebody who watches is told, and what it costs."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

import httpx
import pytest

from cluster import Cluster, free_ports
from devserver.connections import Connections
from devserver.engine import Engine
from devserver.models import ClaimTask, CompletePromise, CreatePromise, TaskRef
from devserver.store import changes, promises, tasks
from devserver.store.database import open_database
from devserver.store.promises import Caller
from devserver.watch import INTERVAL, Watch
from tests.listener import Listener

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

FAR = 4_000_000_000_000


class Watcher:
    """Watches a server until it is left."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(timeout=30)
        request = self._client.build_request("GET", f"{url}/watch")
        self._response = self._client.send(request, stream=True)
        assert self._response.headers["content-type"].startswith("text/event-stream")
        self._lines = self._response.iter_lines()

    def next(self) -> dict[str, Any]:
        """Wait for the next event."""
        line = next(line for line in self._lines if line.startswith("data: "))
        event: dict[str, Any] = json.loads(line.removeprefix("data: "))
        return event

    def next_of(self, kind: str) -> Any:
        """Wait for the next event that has something of a kind, and return that."""
        while True:
            if found := self.next().get(kind):
                return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._response.close()
        self._client.close()


@pytest.fixture
def name() -> str:
    return f"p-{uuid4().hex}"


def create(api: httpx.Client, promise_id: str, **tags: str) -> None:
    body = {"id": promise_id, "timeout": FAR, "tags": {k.replace("_", ":"): tags[k] for k in tags}}
    assert api.post("/promises", json=body).status_code == 201


def claim(api: httpx.Client, task: tuple[str, int], process: str) -> None:
    body = {"id": task[0], "counter": task[1], "processId": process, "ttl": 60_000}
    assert api.post("/tasks/claim", json=body).status_code == 201


def test_the_first_event_holds_what_there_is(api: httpx.Client, poll_url: str, name: str) -> None:
    create(api, name)
    create(api, f"{name}.1", resonate_parent=name)
    value = {"data": "AA" * 200}
    api.patch(f"/promises/{name}.1", json={"state": "RESOLVED", "value": value})
    with Listener(poll_url, "watched", name), Watcher(str(api.base_url)) as watcher:
        first = watcher.next()
    assert first["now"] >= first["started"]
    assert ["watched", name, False] in first["processes"]
    parent, child = (p for p in first["promises"] if p["id"].startswith(name))
    assert (parent["id"], parent["state"]) == (name, "PENDING")
    assert "completedOn" not in parent
    assert (child["parent"], child["state"]) == (name, "RESOLVED")
    assert child["size"] == 300
    assert len(child["value"]) == changes.MAX_VALUE
    assert child["completedOn"] >= child["createdOn"]


def test_later_events_hold_what_is_new(api: httpx.Client, name: str) -> None:
    create(api, f"{name}-old")
    with Watcher(str(api.base_url)) as watcher:
        first = watcher.next()
        create(api, name)
        (created,) = watcher.next_of("promises")
        assert (created["id"], created["state"]) == (name, "PENDING")
        assert created["place"] == first["promises"][-1]["place"] + 1
        api.patch(f"/promises/{name}-old", json={"state": "REJECTED", "value": {"data": "bm8="}})
        (completed,) = watcher.next_of("promises")
        assert (completed["id"], completed["state"]) == (f"{name}-old", "REJECTED")
        assert completed["value"] == "no"


def test_who_comes_and_goes_is_told(api: httpx.Client, poll_url: str, name: str) -> None:
    with Watcher(str(api.base_url)) as watcher:
        watcher.next()
        with Listener(poll_url, "watched", name):
            assert ["watched", name, False] in watcher.next_of("processes")
        assert not any(process[1] == name for process in watcher.next()["processes"])


def test_a_takeover_says_from_whom(api: httpx.Client, poll_url: str, name: str) -> None:
    with Watcher(str(api.base_url)) as watcher, Listener(poll_url, name, "one") as one:
        create(api, name, resonate_invoke=f"poll://any@{name}")
        claim(api, one.next_task(), "one")
        (run,) = watcher.next_of("runs")
        assert (run["promise"], run["process"]) == (name, "one")
        assert "before" not in run
        with Listener(poll_url, name, "two") as two:
            one.close()
            task = two.next_task()
            claim(api, task, "two")
            (taken,) = watcher.next_of("runs")
            assert taken == run | {"process": "two", "before": "one"}
            done = api.post("/tasks/complete", json={"id": task[0], "counter": task[1]})
            assert "processId" not in done.json(), "the protocol does not say who it was"
    with Watcher(str(api.base_url)) as watcher:
        assert taken in watcher.next()["runs"], "it is known for good"


def test_a_timer_says_when_it_is_due(api: httpx.Client, name: str) -> None:
    with Watcher(str(api.base_url)) as watcher:
        watcher.next()
        create(api, f"{name}.1", resonate_timeout="true")
        (timer,) = watcher.next_of("promises")
        assert (timer["due"], timer["parent"]) == (FAR, name)


def test_what_others_write_is_sent_as_it_is(api: httpx.Client, name: str) -> None:
    odd = f'{name}\n\ndata: {{"now":0}}\n\n"\\<script>'
    create(api, odd)
    with Watcher(str(api.base_url)) as watcher:
        assert odd in [promise["id"] for promise in watcher.next()["promises"]]


@pytest.mark.parametrize("path", ["/", "/page.css", "/page.js", "/watch"])
def test_the_page_asks_for_the_password_too(path: str) -> None:
    port, poll_port = free_ports(2)
    command = [sys.executable, "-m", "devserver", "--memory", "--username", "me"]
    command += ["--password", "secret", "--port", str(port), "--poll-port", str(poll_port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        server.stdout.readline()
        url = f"http://127.0.0.1:{port}{path}"
        refused = httpx.get(url)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Basic ")
        with httpx.stream("GET", url, auth=("me", "secret")) as response:
            assert response.status_code == 200
        server.terminate()


@pytest.mark.parametrize("path", ["/", "/page.css", "/page.js"])
def test_the_page_may_load_nothing_but_its_own_files(api: httpx.Client, path: str) -> None:
    headers = api.get(path).headers
    rules = dict(rule.split(" ", 1) for rule in headers["content-security-policy"].split("; "))
    assert rules.pop("default-src") == "'none'"
    assert set(rules.values()) == {"'self'", "'none'"}
    assert rules["script-src"] == "'self'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


def test_watchers_hold_up_no_stop() -> None:
    with Cluster() as cluster, Watcher(cluster.url) as watcher:
        watcher.next()
        cluster.server.send_signal(signal.SIGTERM)
        assert cluster.server.wait(timeout=5) == 0
        assert cluster.server.errors == []


def test_nothing_runs_while_nobody_watches() -> None:
    async def statements() -> tuple[int, int]:
        with closing(open_database(":memory:")) as db:
            executed: list[str] = []
            connections = Connections()
            engine = Engine(db, connections, lambda error: pytest.fail(str(error)))
            watch = Watch(engine, connections)
            db.set_trace_callback(executed.append)
            async with aclosing(watch.stream()) as stream:
                await anext(stream)
                await anext(stream)
                next_event = asyncio.ensure_future(anext(stream))
                await engine.run(lambda db, now: create_in(db, "p", now))
                await next_event
            watched = len(executed)
            await asyncio.sleep(3 * INTERVAL)
            engine.stop()
            return watched, len(executed) - watched

    watched, unwatched = asyncio.run(statements())
    assert watched > 0, "the check sees what runs"
    assert unwatched == 0


# What a watcher reads, without a server


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    with closing(open_database(":memory:")) as db:
        yield db


def create_in(db: sqlite3.Connection, promise_id: str, now: int, **tags: str) -> None:
    promises.create(db, CreatePromise(promise_id, timeout=FAR, tags=tags), Caller(), now)


def run_once(db: sqlite3.Connection, promise_id: str, now: int, **tags: str) -> None:
    """Create a promise with a task, claim that, and complete both."""
    create_in(db, promise_id, now, **tags)
    task_id = f"__invoke:{promise_id}"
    claimed = ClaimTask(id=task_id, counter=1, process_id="one", ttl=10_000)
    db.execute("UPDATE tasks SET state = 'ENQUEUED' WHERE id = ?", (task_id,))
    tasks.claim(db, claimed, now)
    promises.complete(db, promise_id, CompletePromise("RESOLVED"), Caller(), now + 1)
    tasks.complete(db, TaskRef(task_id, 1), now + 1)


def test_what_is_over_is_remembered_no_more(db: sqlite3.Connection) -> None:
    seen, _, _ = changes.newest(db, 0)
    invoke = {"resonate:invoke": "poll://any@g"}
    for i in range(100):
        run_once(db, f"p{i}", i, **invoke)
        seen, found = changes.since(seen, db, i)
        assert [promise.id for promise in found.promises] == [f"p{i}"]
        assert [run.process for run in found.runs] == ["one"]
    assert (seen.pending, seen.open) == (frozenset(), {})


def test_looking_walks_through_nothing_that_is_over(db: sqlite3.Connection) -> None:
    seen, _, _ = changes.newest(db, 0)
    run_once(db, "p", 1, **{"resonate:invoke": "poll://any@g"})
    queries: list[str] = []
    db.set_trace_callback(queries.append)
    changes.since(seen, db, 2)
    db.set_trace_callback(None)
    plans = [
        row[3] for query in queries for row in db.execute(f"EXPLAIN QUERY PLAN {query}").fetchall()
    ]
    assert any(plan.startswith("SEARCH promises") for plan in plans), "the check sees the plans"
    assert [plan for plan in plans if plan.startswith(("SCAN promises", "SCAN tasks"))] == []


def test_of_too_many_promises_the_newest_are_shown(db: sqlite3.Connection) -> None:
    for i in range(changes.MAX_PROMISES + 10):
        create_in(db, f"p{i}", i)
    _, found, left_out = changes.newest(db, 0)
    assert left_out
    assert [promise.id for promise in found.promises] == [
        f"p{i}" for i in range(10, changes.MAX_PROMISES + 10)
    ]


def test_timers_that_are_over_take_no_room(db: sqlite3.Connection) -> None:
    tags = {"resonate:timeout": "true"}
    for i in range(changes.MAX_PROMISES):
        promises.create(db, CreatePromise(f"p{i}.1", timeout=5, tags=tags), Caller(), 1)
    create_in(db, "waits.1", 1, **tags)
    promises.time_out(db, 10)
    _, found, left_out = changes.newest(db, 0)
    assert [promise.id for promise in found.promises] == ["waits.1"]
    assert not left_out
