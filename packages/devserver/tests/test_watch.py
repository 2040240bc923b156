"""`GET /watch`: the events that a watcher gets, and their cost."""

from __future__ import annotations

import json
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx

from devserver.store import changes, processes, promises, tasks
from devserver.store.models import ClaimTask, CompletePromise, CreatePromise, TaskRef
from devserver.store.promises import Caller
from tests.api import FAR, claim, complete, create, invoke
from tests.listener import Listener
from tests.programs import PATIENCE, Server

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    import pytest

INVOKE = {"resonate:invoke": "poll://any@g"}
TIMER = {"resonate:timeout": "true"}


@contextmanager
def watching(url: httpx.URL | str) -> Iterator[Iterator[dict[str, Any]]]:
    """Watch a server. Yields its events."""
    with httpx.stream("GET", f"{url}/watch", timeout=PATIENCE) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = response.iter_lines()
        yield (json.loads(line[6:]) for line in lines if line.startswith("data: "))


def next_of(events: Iterator[dict[str, Any]], kind: str, **fields: object) -> Any:
    """Wait for the next row of a kind that has these fields, and return it."""
    for event in events:
        for row in event.get(kind, []):
            if fields.items() <= row.items():
                return row
    raise AssertionError("the stream has ended")


def test_the_first_event_has_everything_and_later_ones_the_changes(
    api: httpx.Client, name: str
) -> None:
    odd = f'{name} "\\<script>'
    create(api, odd)
    create(api, f"{name}.child", tags={"resonate:parent": name})
    complete(api, f"{name}.child", value="é" * 100)
    create(api, f"{name}.1", tags=TIMER)
    with watching(api.base_url) as events:
        first = next(events)
        *_, parent, child, timer = first["promises"]
        assert first["isFirst"]
        assert (parent["id"], parent["state"]) == (odd, "PENDING")
        assert "completedOn" not in parent
        assert (child["parent"], child["state"], child["size"]) == (name, "RESOLVED", 200)
        assert child["value"] == "é" * (changes.MAX_VALUE // 2)
        assert child["createdOn"] <= child["completedOn"] <= first["now"]
        assert timer["timeout"] == FAR
        create(api, name)
        assert next_of(events, "promises")["id"] == name
        complete(api, name, "REJECTED", "no")
        assert next_of(events, "promises", id=name, state="REJECTED")["value"] == "no"
        body = {"rootPromiseId": name, "recv": "poll://any@g", "timeout": FAR}
        api.post(f"/promises/callback/{name}.1", json=body).raise_for_status()
        assert next_of(events, "callbacks")["promiseId"] == f"{name}.1"
    with watching(api.base_url) as events:
        assert next_of(events, "callbacks", rootPromiseId=name)["promiseId"] == f"{name}.1"


def test_each_attempt_and_the_number_of_its_process_are_recorded(
    api: httpx.Client, poll_url: str, name: str
) -> None:
    with watching(api.base_url) as events, Listener(poll_url, name, "one") as one:
        assert next_of(events, "events", group=name, processId="one")["number"] == 1
        invoke(api, name, f"poll://any@{name}")
        sent = next_of(events, "tasks", state="ENQUEUED", processId="one")
        claim(api, one.next_task(), "one").raise_for_status()
        claimed = next_of(events, "tasks", state="CLAIMED", rootPromiseId=name)
        assert claimed["createdOn"] <= sent["sentOn"] == claimed["sentOn"] <= claimed["claimedOn"]
        with Listener(poll_url, name, "two") as two:
            one.close()
            task = two.next_task()
            lost = next_of(events, "attempts", rootPromiseId=name, task=sent["sortId"])
            assert (lost["processId"], lost["outcome"]) == ("one", "disconnected")
            assert lost["claimedOn"] == claimed["claimedOn"] <= lost["endedOn"]
            claim(api, task, "two").raise_for_status()
            done = api.post("/tasks/complete", json={"id": task[0], "counter": task[1]})
            assert "processId" not in done.json(), "the API does not show which process it was"
    with Listener(poll_url, name, "one"), watching(api.base_url) as events:
        first = next(events)
    assert {"group": name, "id": "one", "isSilent": False} in first["processes"]
    numbers = {e["processId"]: e["number"] for e in first["events"] if e.get("group") == name}
    assert numbers == {"one": 1, "two": 2}
    assert lost in first["attempts"]
    (task_after,) = [task for task in first["tasks"] if task["rootPromiseId"] == name]
    assert (task_after["processId"], task_after["state"]) == ("two", "COMPLETED")
    assert task_after["claimedOn"] >= lost["endedOn"]


def test_only_a_get_opens_the_stream(api: httpx.Client) -> None:
    assert api.head("/watch").status_code == 404


def test_a_server_with_a_watcher_stops_and_records_when() -> None:
    with Server() as server:
        with watching(server.url) as events:
            next(events)
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait() == 0
        server.start()
        with watching(server.url) as events:
            first, stopped, second = next(events)["events"]
    assert [first["type"], stopped["type"], second["type"]] == ["started", "stopped", "started"]
    assert second["activeUntil"] == stopped["createdOn"]


# What a watcher reads, without a server


def add(db: sqlite3.Connection, promise_id: str, now: int, **tags: str) -> None:
    request = CreatePromise(promise_id, timeout=5 if tags == TIMER else FAR, tags=tags)
    promises.create(db, request, Caller(), now)


def run_once(db: sqlite3.Connection, promise_id: str, now: int) -> None:
    """Create a promise with a task, claim that, and complete both."""
    add(db, promise_id, now, **INVOKE)
    task_id = f"__invoke:{promise_id}"
    db.execute("UPDATE tasks SET state = 'ENQUEUED' WHERE id = ?", (task_id,))
    tasks.claim(db, ClaimTask(id=task_id, counter=1, process_id="one", ttl=10_000), now)
    promises.complete(db, promise_id, CompletePromise("RESOLVED"), Caller(), now + 1)
    tasks.complete(db, TaskRef(task_id, 1), now + 1)


def test_a_watcher_forgets_finished_work_and_reads_it_once(db: sqlite3.Connection) -> None:
    seen, _, _ = changes.newest(db, 0)
    queries: list[str] = []
    db.set_trace_callback(queries.append)
    for i in range(20):
        run_once(db, f"p{i}", i)
        queries.clear()
        seen, found = changes.since(seen, db, i)
        assert [promise["id"] for promise in found.promises] == [f"p{i}"]
        assert [task["processId"] for task in found.tasks] == ["one"]
    db.set_trace_callback(None)
    assert (seen.pending, seen.open, seen.callbacks) == (frozenset(), {}, frozenset())
    plans = [row[3] for query in queries for row in db.execute(f"EXPLAIN QUERY PLAN {query}")]
    assert any(plan.startswith("SEARCH promises") for plan in plans), "the check sees the plans"
    assert [plan for plan in plans if plan.startswith(("SCAN promises", "SCAN tasks"))] == []


def test_a_watcher_of_a_large_store_gets_what_is_pending_and_the_newest(
    db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "MAX_PROMISES", 50)
    monkeypatch.setattr(changes, "MAX_SEARCHED", 200)

    add(db, "old", 1, **INVOKE)
    add(db, "waits.1", 1, **TIMER | INVOKE)  # does not end within this test
    steps = []
    for count in (200, 2_000):
        for i in range(count):
            run_once(db, f"p{count}-{i}", 1)
            add(db, f"t{count}-{i}", 1, **TIMER)
        for _ in range(count // promises.MAX_TIMED_OUT + 1):
            promises.time_out(db, 10)
        counted: list[None] = []  # each tenth step of SQLite's virtual machine
        db.set_progress_handler(lambda: counted.append(None), 10)  # noqa: B023
        _, found, left_out = changes.newest(db, 0)
        db.set_progress_handler(None, 0)
        steps.append(len(counted))
        assert left_out
        assert [promise["id"] for promise in found.promises[:2]] == ["old", "waits.1"]
        assert len(found.promises) == 50
        assert found.promises[-1]["id"] == f"p{count}-{count - 1}"
    assert steps[1] <= 1.1 * steps[0]


def test_an_outage_begins_when_the_killed_server_was_last_active(db: sqlite3.Connection) -> None:
    add(db, "p", 1_000, **INVOKE)
    db.execute("UPDATE tasks SET state = 'ENQUEUED'")
    claimed = ClaimTask(id="__invoke:p", counter=1, process_id="one", ttl=10_000)
    tasks.claim(db, claimed, 2_000)
    tasks.heartbeat(db, "one", 6_000)
    processes.server_started(db, 60_000)
    _, found, _ = changes.newest(db, 0)
    assert found.events[-1]["activeUntil"] == 6_000
