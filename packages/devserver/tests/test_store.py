"""Transitions of the store with time as an argument, and what they cost.

`test_store_properties.py` tries them in any order, and `differential` compares their answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from devserver.store import deadlines, dispatch, promises, tasks
from devserver.store.errors import Code, ProtocolError
from devserver.store.models import (
    ClaimTask,
    CompletePromise,
    CreateCallback,
    CreatePromise,
    CreatePromiseAndTask,
    Task,
    TaskClaimer,
    TaskRef,
)
from devserver.store.promises import Caller

if TYPE_CHECKING:
    import sqlite3

NOW = 1_000_000
LATER = NOW + 60_000
INVOKE = {"resonate:invoke": "poll://any@workers"}
TIMER = {"resonate:timeout": "true"}


def create(
    db: sqlite3.Connection,
    promise_id: str,
    tags: dict[str, str] | None = None,
    timeout: int = LATER,
) -> None:
    request = CreatePromise(promise_id, timeout=timeout, tags=tags or {})
    promises.create(db, request, Caller("key"), NOW)


def resolve(db: sqlite3.Connection, promise_id: str) -> None:
    promises.complete(db, promise_id, CompletePromise("RESOLVED"), Caller(), NOW)


def wait_for(db: sqlite3.Connection, root: str, leaf: str) -> None:
    recv = msgspec.Raw(b'"poll://any@workers"')
    promises.create_callback(db, leaf, CreateCallback(root, recv, LATER), Caller(), NOW)


def send(db: sqlite3.Connection, now: int = NOW) -> list[str]:
    """Send what is ready and what has expired. Returns the ids of the tasks."""
    deadlines.expire(db, now)
    dispatch.take_back_expired(db, now)
    return [delivery.task_id for delivery in dispatch.send_ready(db, lambda *_: "one", now)]


def claim(db: sqlite3.Connection, task_id: str, now: int = NOW, counter: int = 1) -> None:
    tasks.claim(db, ClaimTask(id=task_id, counter=counter, process_id="one", ttl=10_000), now)


def test_a_timer_and_a_delayed_call_wait_for_their_time(db: sqlite3.Connection) -> None:
    create(db, "root")
    create(db, "timer", TIMER, NOW + 5)
    wait_for(db, "root", "timer")
    create(db, "delayed", INVOKE | {"resonate:delay": str(NOW + 5)})
    assert deadlines.next_due(db) == NOW + 5
    assert send(db, NOW + 4) == []
    assert send(db, NOW + 5) == ["__invoke:delayed", "__resume:root:timer"]


def test_a_process_that_repeats_a_creation_gets_its_task_again(db: sqlite3.Connection) -> None:
    promise = CreatePromise("p", timeout=LATER, tags=INVOKE)

    def create_as(process_id: str) -> Task | None:
        request = CreatePromiseAndTask(promise, TaskClaimer(process_id, 10_000))
        return promises.create_with_task(db, request, Caller("key"), NOW)[2]

    created = create_as("one")
    assert created is not None
    assert create_as("one") == created
    assert create_as("two") is None
    tasks.complete(db, TaskRef(created.id, 1), NOW)
    assert create_as("one") is None


def test_a_lease_expires_unless_it_is_renewed(db: sqlite3.Connection) -> None:
    create(db, "p", INVOKE)
    assert send(db) == ["__invoke:p"]
    claim(db, "__invoke:p")
    assert tasks.heartbeat(db, "one", NOW + 9_000) == 1
    assert send(db, NOW + 18_999) == []
    assert deadlines.next_due(db) == NOW + 19_000
    assert send(db, NOW + 19_000) == ["__invoke:p"]
    with pytest.raises(ProtocolError) as error:
        claim(db, "__invoke:p", NOW + 19_000)
    assert error.value.code == Code.TASK_COUNTER


def test_a_call_that_times_out_is_not_taken_back_from_its_process(db: sqlite3.Connection) -> None:
    create(db, "p", INVOKE, NOW + 5)
    send(db)
    # Another request can come before the clock's transition.
    assert dispatch.take_back_expired(db, NOW + 5) == set()
    deadlines.expire(db, NOW + 5)
    claim(db, "__invoke:p", NOW + 5)


def test_a_call_pauses_after_it_has_ended_two_processes_at_once(db: sqlite3.Connection) -> None:
    create(db, "p", INVOKE)

    def end_a_process(now: int, *, has_lived: bool) -> list[dispatch.Suspect]:
        assert send(db, now) == ["__invoke:p"]
        (counter,) = db.execute("SELECT counter FROM tasks").fetchone()
        claim(db, "__invoke:p", now, counter)
        if has_lived:
            tasks.heartbeat(db, "one", now + 2_501)  # after more than a quarter of the lease
        return dispatch.take_back_of_process(db, "one", now, has_ended=True)

    for has_lived in (False, True, True):
        assert end_a_process(NOW, has_lived=has_lived) == []
    assert end_a_process(NOW, has_lived=False) == [("p", 2, dispatch.FIRST_PAUSE_MS)]
    assert send(db, NOW + dispatch.FIRST_PAUSE_MS - 1) == []
    again = end_a_process(NOW + dispatch.FIRST_PAUSE_MS, has_lived=False)
    assert again == [("p", 3, 2 * dispatch.FIRST_PAUSE_MS)]


def test_calls_that_wait_for_their_turn_leave_a_worker_room_for_others(
    db: sqlite3.Connection,
) -> None:
    leaves = [f"leaf-{i}" for i in range(dispatch.MAX_UNCLAIMED)]
    create(db, "root")
    for leaf in leaves:
        create(db, leaf)
        wait_for(db, "root", leaf)
        resolve(db, leaf)
    create(db, "other", INVOKE)
    assert dispatch.send_ready(db, lambda *_: None, NOW) == []
    dispatch.wake(db, "workers", "one", dispatch.MAX_UNCLAIMED)
    assert send(db) == ["__resume:root:leaf-0", "__invoke:other"]


def test_no_transition_reads_all_finished_work(db: sqlite3.Connection) -> None:
    statements: set[str] = set()
    db.set_trace_callback(statements.add)
    create(db, "root", INVOKE)
    create(db, "leaf")
    send(db)
    claim(db, "__invoke:root")
    tasks.heartbeat(db, "one", NOW)
    wait_for(db, "root", "leaf")
    tasks.complete(db, TaskRef("__invoke:root", 1), NOW)
    resolve(db, "leaf")
    send(db)
    dispatch.recover(db, NOW)
    dispatch.wake_notifications(db, "workers", "one")
    dispatch.wake(db, "workers", "one", 1)
    for has_ended in (True, False):
        dispatch.take_back_of_process(db, "one", 0, has_ended=has_ended)
    send(db)
    dispatch.is_any_ready(db, NOW)
    deadlines.next_due(db)
    promises.get(db, "root", NOW)
    db.set_trace_callback(None)
    scans = {
        statement: [step for *_, step in db.execute(f"EXPLAIN QUERY PLAN {statement}")]
        for statement in statements
    }
    assert len(scans) > 15
    full = {
        statement
        for statement, steps in scans.items()
        if any(step.startswith("SCAN") and "INDEX" not in step for step in steps)
    }
    # The search of `next_due` may read each of its few results.
    assert all("MIN(due)" in statement for statement in full), full


def test_only_a_use_of_a_stored_result_is_recorded(
    db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def uses() -> list[tuple[str, str | None]]:
        rows = db.execute("SELECT promise_id, caller_id FROM uses ORDER BY sort_id")
        return [(row["promise_id"], row["caller_id"]) for row in rows]

    of_maker, of_waiter, of_other = ({"resonate:parent": it} for it in ("maker", "waiter", "other"))
    create(db, "call", of_maker)
    create(db, "call", of_waiter)  # not complete yet
    wait_for(db, "waiter", "call")
    resolve(db, "call")
    for tags in (of_maker, of_waiter, of_other, of_other):  # each runs again from the top
        create(db, "call", tags)
    assert uses() == [("call", "other")]
    create(db, "timer", TIMER)
    resolve(db, "timer")
    create(db, "timer", TIMER)
    monkeypatch.setattr(promises, "MAX_USES", 2)
    for _ in range(2):  # clients
        create(db, "call", {"resonate:parent": "call"})
    assert uses() == [("call", None)] * 2
