"""`GET /watch`: the events that a watcher gets, and their cost."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any, Self

import httpx
import pytest

from cluster import PATIENCE, Cluster
from devserver.connections import Connections
from devserver.engine import Engine
from devserver.models import ClaimTask, CompletePromise, CreatePromise, TaskRef
from devserver.store import changes, processes, promises, tasks
from devserver.store.database import open_database
from devserver.store.promises import Caller
from devserver.watch import INTERVAL, Watch
from tests.api import FAR, claim
from tests.listener import Listener

if TYPE_CHECKING:
    import sqlite3


class Watcher:
    """A context manager that watches a server."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(timeout=PATIENCE)
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

    def event_of(self, group: str) -> tuple[dict[str, Any], Any]:
        """Wait for the next event of a process of a group. Other tests' processes leave late.

        Returns:
            That process's event, and all open connections.
        """
        while True:
            event = self.next()
            for found in event.get("events", []):
                if found.get("group") == group:
                    return found, event["processes"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._response.close()
        self._client.close()


def create(api: httpx.Client, promise_id: str, **tags: str) -> None:
    body = {"id": promise_id, "timeout": FAR, "tags": {k.replace("_", ":"): tags[k] for k in tags}}
    assert api.post("/promises", json=body).status_code == 201


def test_the_first_event_holds_what_there_is(api: httpx.Client, poll_url: str, name: str) -> None:
    create(api, name)
    create(api, f"{name}.1", resonate_parent=name)
    value = {"data": "AA" * 200}
    api.patch(f"/promises/{name}.1", json={"state": "RESOLVED", "value": value})
    with Listener(poll_url, "watched", name), Watcher(str(api.base_url)) as watcher:
        first = watcher.next()
    assert first["now"] >= first["startedOn"]
    assert {"group": "watched", "id": name, "isSilent": False} in first["processes"]
    parent, child = (p for p in first["promises"] if p["id"].startswith(name))
    assert (parent["id"], parent["state"]) == (name, "PENDING")
    assert "completedOn" not in parent
    assert (child["parent"], child["state"]) == (name, "RESOLVED")
    assert child["size"] == 300
    assert len(child["value"]) == changes.MAX_VALUE
    assert child["completedOn"] >= child["createdOn"]


def test_later_events_contain_the_changes(api: httpx.Client, name: str) -> None:
    create(api, f"{name}-old")
    with Watcher(str(api.base_url)) as watcher:
        first = watcher.next()
        create(api, name)
        (created,) = watcher.next_of("promises")
        assert (created["id"], created["state"]) == (name, "PENDING")
        assert created["sortId"] == first["promises"][-1]["sortId"] + 1
        api.patch(f"/promises/{name}-old", json={"state": "REJECTED", "value": {"data": "bm8="}})
        (completed,) = watcher.next_of("promises")
        assert (completed["id"], completed["state"]) == (f"{name}-old", "REJECTED")
        assert completed["value"] == "no"


def test_connections_are_recorded(api: httpx.Client, poll_url: str, name: str) -> None:
    process = {"group": name, "id": "one", "isSilent": False}
    with Watcher(str(api.base_url)) as watcher:
        watcher.next()
        with Listener(poll_url, name, "one"):
            connected, connections = watcher.event_of(name)
            assert process in connections
            assert connected["type"] == "connected"
            assert (connected["processId"], connected["number"]) == ("one", 1)
        disconnected, connections = watcher.event_of(name)
        assert process not in connections
        assert (disconnected["type"], disconnected["number"]) == ("disconnected", 1)
        with Listener(poll_url, name, "two"), Listener(poll_url, name, "one"):
            pass
    with Watcher(str(api.base_url)) as watcher:
        events = watcher.next()["events"]
    assert (events[0]["type"], events[0].get("processId")) == ("started", None)
    numbers = {e["processId"]: e["number"] for e in events if e.get("group") == name}
    assert numbers == {"one": 1, "two": 2}, "a process that returns keeps its number"
    assert connected in events


def test_each_attempt_is_recorded(api: httpx.Client, poll_url: str, name: str) -> None:
    with Watcher(str(api.base_url)) as watcher, Listener(poll_url, name, "one") as one:
        create(api, name, resonate_invoke=f"poll://any@{name}")
        message = one.next_task()
        claim(api, message, "one").raise_for_status()
        sent = watcher.next_of("tasks")[-1]
        while "claimedOn" not in sent:
            sent = watcher.next_of("tasks")[-1]
        assert (sent["rootPromiseId"], sent["processId"]) == (name, "one")
        assert sent["createdOn"] <= sent["sentOn"] <= sent["claimedOn"]
        with Listener(poll_url, name, "two") as two:
            one.close()
            task = two.next_task()
            claim(api, task, "two").raise_for_status()
            event = watcher.next()
            while not event.get("attempts"):
                event = watcher.next()
            (lost,) = event["attempts"]
            assert (lost["rootPromiseId"], lost["processId"]) == (name, "one")
            assert (lost["task"], lost["outcome"]) == (sent["sortId"], "disconnected")
            assert lost["sentOn"] == sent["sentOn"]
            assert lost["claimedOn"] == sent["claimedOn"] <= lost["endedOn"]
            done = api.post("/tasks/complete", json={"id": task[0], "counter": task[1]})
            assert "processId" not in done.json(), "the API does not show which process it was"
    with Watcher(str(api.base_url)) as watcher:
        first = watcher.next()
    assert lost in first["attempts"]
    (task_after,) = [task for task in first["tasks"] if task["rootPromiseId"] == name]
    assert (task_after["processId"], task_after["state"]) == ("two", "COMPLETED")
    assert task_after["claimedOn"] >= lost["endedOn"]


def test_a_message_says_to_which_process_it_was_sent(
    api: httpx.Client, poll_url: str, name: str
) -> None:
    with Watcher(str(api.base_url)) as watcher, Listener(poll_url, name, "one"):
        watcher.next()
        create(api, name, resonate_invoke=f"poll://any@{name}")
        (task,) = watcher.next_of("tasks")
        assert (task["state"], task["processId"]) == ("ENQUEUED", "one")
        assert "claimedOn" not in task


def test_callbacks_say_which_promise_waits_for_which(api: httpx.Client, name: str) -> None:
    create(api, name)
    create(api, f"{name}-shared")
    with Watcher(str(api.base_url)) as watcher:
        watcher.next()
        for root in (name, f"{name}-other"):
            body = {"rootPromiseId": root, "recv": "poll://any@g", "timeout": FAR}
            api.post(f"/promises/callback/{name}-shared", json=body).raise_for_status()
            callbacks = watcher.next_of("callbacks")
            assert [(c["rootPromiseId"], c["promiseId"]) for c in callbacks] == [
                (root, f"{name}-shared")
            ]
    with Watcher(str(api.base_url)) as watcher:
        assert callbacks[0] in watcher.next()["callbacks"]


def test_a_promise_of_the_sdk_says_its_function(api: httpx.Client, name: str) -> None:
    param = {"data": base64.b64encode(b'{"func": "factorial", "args": [3]}').decode()}
    api.post("/promises", json={"id": name, "timeout": FAR, "param": param})
    create(api, f"{name}-other")
    with Watcher(str(api.base_url)) as watcher:
        found = {promise["id"]: promise.get("func") for promise in watcher.next()["promises"]}
    assert (found[name], found[f"{name}-other"]) == ("factorial", None)


def test_a_timer_says_when_it_is_due(api: httpx.Client, name: str) -> None:
    with Watcher(str(api.base_url)) as watcher:
        watcher.next()
        create(api, f"{name}.1", resonate_timeout="true")
        (timer,) = watcher.next_of("promises")
        assert (timer["timeout"], timer["parent"]) == (FAR, name)


def test_what_others_write_is_sent_as_it_is(api: httpx.Client, name: str) -> None:
    odd = f'{name}\n\ndata: {{"now":0}}\n\n"\\<script>'
    create(api, odd)
    with Watcher(str(api.base_url)) as watcher:
        assert odd in [promise["id"] for promise in watcher.next()["promises"]]


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
        assert cluster.server.wait() == 0
        assert cluster.server.errors == []


def test_nothing_runs_without_a_watcher() -> None:
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
            unwatched = len(executed) - watched
            engine.stop()
            return watched, unwatched

    watched, unwatched = asyncio.run(statements())
    assert watched > 0, "the check sees what runs"
    assert unwatched == 0


# What a watcher reads, without a server


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


def test_a_watcher_forgets_finished_work(db: sqlite3.Connection) -> None:
    seen, _, _ = changes.newest(db, 0)
    invoke = {"resonate:invoke": "poll://any@g"}
    for i in range(100):
        run_once(db, f"p{i}", i, **invoke)
        seen, found = changes.since(seen, db, i)
        assert [promise.id for promise in found.promises] == [f"p{i}"]
        assert [task.process_id for task in found.tasks] == ["one"]
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


def test_pending_promises_are_shown_at_any_age(db: sqlite3.Connection) -> None:
    run_once(db, "finished", 0, **{"resonate:invoke": "poll://any@g"})
    create_in(db, "old", 1, **{"resonate:invoke": "poll://any@g"})
    for i in range(changes.MAX_PROMISES):
        create_in(db, f"p{i}", 2)
        promises.complete(db, f"p{i}", CompletePromise("RESOLVED"), Caller(), 3)
    _, found, left_out = changes.newest(db, 0)
    assert left_out
    assert len(found.promises) == changes.MAX_PROMISES
    assert found.promises[0].id == "old"
    assert [task.root_promise_id for task in found.tasks] == ["old"]


def test_events_of_processes_are_kept_to_a_limit(db: sqlite3.Connection) -> None:
    for i in range(processes.MAX_EVENTS):
        processes.connected(db, f"worker-{i}", "g", i)
        processes.disconnected(db, f"worker-{i}", "g", i)
    _, found, _ = changes.newest(db, 0)
    assert len(found.events) == processes.MAX_EVENTS
    assert found.events[-1].number == processes.MAX_EVENTS


def test_timers_that_are_over_take_no_room(db: sqlite3.Connection) -> None:
    tags = {"resonate:timeout": "true"}
    for i in range(changes.MAX_PROMISES):
        promises.create(db, CreatePromise(f"p{i}.1", timeout=5, tags=tags), Caller(), 1)
    create_in(db, "waits.1", 1, **tags)
    promises.time_out(db, 10)
    _, found, left_out = changes.newest(db, 0)
    assert [promise.id for promise in found.promises] == ["waits.1"]
    assert not left_out


def test_many_finished_promises_do_not_slow_down_the_first_look(
    db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "MAX_PROMISES", 50)
    monkeypatch.setattr(changes, "MAX_SEARCHED", 200)

    def steps() -> int:
        """Count the steps of SQLite's virtual machine, which depend on nothing else."""
        count = 0

        def step() -> int:
            nonlocal count
            count += 1
            return 0

        db.set_progress_handler(step, 10)
        _, found, left_out = changes.newest(db, 0)
        db.set_progress_handler(None, 0)
        assert (found.promises[0].id, left_out) == ("pending", True)
        return count

    create_in(db, "pending", 1)

    def finish(count: int) -> None:
        for i in range(count):
            run_once(db, f"p{count}-{i}", 1, **{"resonate:invoke": "poll://any@g"})
            timer = CreatePromise(f"t{count}-{i}", timeout=5, tags={"resonate:timeout": "true"})
            promises.create(db, timer, Caller(), 1)
        promises.time_out(db, 10)

    finish(200)
    few = steps()
    finish(2_000)
    assert steps() <= 1.1 * few


@pytest.mark.parametrize(("is_stopped", "active_until"), [(True, 7_000), (False, 6_000)])
def test_an_outage_begins_when_the_server_was_last_active(
    db: sqlite3.Connection, is_stopped: bool, active_until: int
) -> None:
    create_in(db, "p", 1_000, **{"resonate:invoke": "poll://any@g"})
    db.execute("UPDATE tasks SET state = 'ENQUEUED'")
    claimed = ClaimTask(id="__invoke:p", counter=1, process_id="one", ttl=10_000)
    tasks.claim(db, claimed, 2_000)
    tasks.heartbeat(db, "one", 6_000)
    if is_stopped:
        processes.server_stopped(db, 7_000)
    processes.server_started(db, 60_000)
    _, found, _ = changes.newest(db, 0)
    assert found.events[-1].active_until == active_until


def test_a_server_that_is_stopped_says_when() -> None:
    with Cluster() as cluster:
        cluster.server.send_signal(signal.SIGTERM)
        assert cluster.server.wait() == 0
        cluster.start_server()
        with Watcher(cluster.url) as watcher:
            first, stopped, second = watcher.next()["events"]
    assert [first["type"], stopped["type"], second["type"]] == ["started", "stopped", "started"]
    assert second["activeUntil"] == stopped["createdOn"]
