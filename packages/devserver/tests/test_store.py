"""The transitions of promises and tasks, with time as an argument."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import msgspec
import pytest

from devserver.store import deadlines, dispatch, promises, tasks
from devserver.store.database import DatabaseError, open_database, transaction
from devserver.store.errors import Code, ProtocolError
from devserver.store.models import (
    ClaimTask,
    CompletePromise,
    CreateCallback,
    CreatePromise,
    CreateSubscription,
    Promise,
    TaskRef,
    Value,
)
from devserver.store.promises import Caller

if TYPE_CHECKING:
    from pathlib import Path

    from devserver.store.address import Address
    from devserver.store.dispatch import Delivery

NOW = 1_000_000
LATER = NOW + 60_000
ANYBODY = Caller()
INVOKE = {"resonate:invoke": "poll://any@workers"}
WORKER = msgspec.Raw(b'"poll://any@workers/one"')


def anyone(_: Address, __: str) -> str:
    return "one"


def nobody(_: Address, __: str) -> None:
    return None


def create(
    db: sqlite3.Connection, promise_id: str, *, key: str | None = None, **fields: object
) -> Promise:
    request = msgspec.convert({"id": promise_id, "timeout": LATER, **fields}, CreatePromise)
    _, promise = promises.create(db, request, Caller(key), NOW)
    return promise


def resolve(
    db: sqlite3.Connection, promise_id: str, now: int = NOW, caller: Caller = ANYBODY
) -> tuple[bool, Promise]:
    request = CompletePromise("RESOLVED", Value(data=b"42"))
    return promises.complete(db, promise_id, request, caller, now)


def wait_for(db: sqlite3.Connection, root: str, leaf: str) -> bool:
    callback, _ = promises.create_callback(
        db, leaf, CreateCallback(root, WORKER, LATER), ANYBODY, NOW
    )
    return callback is not None


def send(db: sqlite3.Connection, now: int = NOW) -> list[tuple[str, int]]:
    return [(d.task_id, _counter(d)) for d in dispatch.send_ready(db, anyone, now)]


def _counter(delivery: Delivery) -> int:
    return delivery.message.task.counter if delivery.message.task else 0


def expire(db: sqlite3.Connection, now: int) -> None:
    deadlines.expire(db, now)
    dispatch.take_back_expired(db, now)


def claim(db: sqlite3.Connection, task_id: str, counter: int = 1, now: int = NOW) -> tasks.Claim:
    request = ClaimTask(id=task_id, counter=counter, process_id="one", ttl=10_000)
    return tasks.claim(db, request, now)


def refusal(error: pytest.ExceptionInfo[ProtocolError]) -> Code:
    return error.value.code


# Promises


@pytest.mark.parametrize(
    ("tags", "state"), [({}, "REJECTED_TIMEDOUT"), ({"resonate:timeout": "true"}, "RESOLVED")]
)
def test_a_promise_times_out_and_a_timer_resolves(
    db: sqlite3.Connection, tags: dict[str, str], state: str
) -> None:
    create(db, "root")
    create(db, "p", tags=tags, timeout=NOW + 5)
    wait_for(db, "root", "p")
    assert deadlines.next_due(db) == NOW + 5
    expire(db, NOW + 4)
    assert promises.get(db, "p", NOW + 4).state == "PENDING"
    expire(db, NOW + 5)
    promise = promises.get(db, "p", NOW + 5)
    assert (promise.state, promise.completed_on) == (state, NOW + 5)
    assert send(db) == [("__resume:root:p", 1)]


def test_reading_and_completing_see_that_the_time_has_come(db: sqlite3.Connection) -> None:
    create(db, "p", timeout=NOW + 5)
    create(db, "q", timeout=NOW + 5)
    assert promises.get(db, "p", NOW + 5).state == "REJECTED_TIMEDOUT"
    assert resolve(db, "q", NOW + 5)[1].state == "REJECTED_TIMEDOUT"
    with pytest.raises(ProtocolError) as error:
        resolve(db, "q", NOW + 6, Caller(strict=True))
    assert refusal(error) == Code.PROMISE_TIMEDOUT


# Callbacks


def test_a_completed_promise_resumes_the_functions_that_wait_for_it(db: sqlite3.Connection) -> None:
    create(db, "root")
    create(db, "leaf")
    assert wait_for(db, "root", "leaf")
    assert not wait_for(db, "root", "leaf"), "it waits already"
    resolve(db, "leaf")
    assert not wait_for(db, "root", "leaf"), "there is nothing to wait for"
    assert send(db) == [("__resume:root:leaf", 1)]
    got = claim(db, "__resume:root:leaf")
    assert (got.root, got.leaf) == (promises.get(db, "root", NOW), promises.get(db, "leaf", NOW))


# Tasks


def test_tasks_that_wait_for_their_turn_cost_nothing(db: sqlite3.Connection) -> None:
    create(db, "root", tags=INVOKE)
    send(db)
    claim(db, "__invoke:root")
    for i in range(50):
        create(db, f"leaf{i}")
        wait_for(db, "root", f"leaf{i}")
        resolve(db, f"leaf{i}")
    assert send(db) == []
    ready = db.execute("SELECT * FROM tasks WHERE state = 'INIT'").fetchall()
    assert ready == []
    tasks.complete(db, TaskRef("__invoke:root", 1), NOW)
    for i in range(50):
        assert send(db) == [(f"__resume:root:leaf{i}", 1)]
        claim(db, f"__resume:root:leaf{i}")
        tasks.complete(db, TaskRef(f"__resume:root:leaf{i}", 1), NOW)


def test_a_lease_runs_out_unless_it_is_renewed(db: sqlite3.Connection) -> None:
    create(db, "p", tags=INVOKE)
    send(db)
    claim(db, "__invoke:p")
    assert tasks.heartbeat(db, "one", NOW + 9_000) == 1
    assert tasks.heartbeat(db, "two", NOW + 9_000) == 0
    expire(db, NOW + 18_999)
    assert send(db, NOW + 18_999) == []
    assert deadlines.next_due(db) == NOW + 19_000
    expire(db, NOW + 19_000)
    assert send(db, NOW + 19_000) == [("__invoke:p", 2)]
    with pytest.raises(ProtocolError) as error:
        tasks.complete(db, TaskRef("__invoke:p", 1), NOW + 19_000)
    assert refusal(error) == Code.TASK_STATE


def test_a_task_without_a_receiver_ends_with_its_promise(db: sqlite3.Connection) -> None:
    create(db, "p", tags=INVOKE, timeout=NOW + 5)
    dispatch.send_ready(db, nobody, NOW)
    assert deadlines.next_due(db) == NOW + 5
    expire(db, NOW + 5)
    assert dispatch.send_ready(db, anyone, NOW + 5) == []
    assert deadlines.next_due(db) is None


def test_a_delayed_task_waits_for_its_time(db: sqlite3.Connection) -> None:
    create(db, "p", tags=INVOKE | {"resonate:delay": str(NOW + 5)})
    assert send(db) == []
    dispatch.wake_for_connection(db, "workers", "one")
    assert send(db) == []
    assert deadlines.next_due(db) == NOW + 5
    assert send(db, NOW + 5) == [("__invoke:p", 1)]


def test_after_a_restart_workers_have_time_to_come_back(db: sqlite3.Connection) -> None:
    create(db, "claimed", tags=INVOKE, timeout=NOW * 2)
    create(db, "sent", tags=INVOKE, timeout=NOW * 2)
    send(db)
    claim(db, "__invoke:claimed")
    restart = NOW + 50_000
    dispatch.recover(db, restart)
    expire(db, restart)
    assert send(db, restart) == []
    assert tasks.complete(db, TaskRef("__invoke:claimed", 1), restart)[0]
    back = restart + dispatch.TIME_TO_CLAIM_MS
    expire(db, back)
    assert send(db, back) == [("__invoke:sent", 2)]


# What must be on disk


def test_transitions_that_do_not_wait_for_the_disk_change_only_states_of_tasks(
    db: sqlite3.Connection,
) -> None:
    for name in "pqr":
        create(db, name, tags=INVOKE)
    request = CreateSubscription("client", WORKER, LATER)
    promises.create_subscription(db, "r", request, ANYBODY, NOW)
    resolve(db, "r")
    send(db)
    written = set()

    def note(action: int, table: str | None, column: str | None, *_: object) -> int:
        if action in {sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE}:
            written.add((table, column))
        return sqlite3.SQLITE_OK

    db.set_authorizer(note)
    claim(db, "__invoke:p")
    tasks.heartbeat(db, "one", NOW)
    tasks.complete(db, TaskRef("__invoke:p", 1), NOW)
    dispatch.complete_notified(db, ["__notify:r:client"], NOW)
    assert {table for table, _ in written} == {"tasks"}
    assert ("tasks", "counter") not in written, "a counter never goes back"


# Query plans and sizes


def test_no_transition_reads_all_finished_work(db: sqlite3.Connection) -> None:
    statements: set[str] = set()
    db.set_trace_callback(statements.add)
    create(db, "root", tags=INVOKE)
    create(db, "leaf")
    send(db)
    claim(db, "__invoke:root")
    tasks.heartbeat(db, "one", NOW)
    wait_for(db, "root", "leaf")
    tasks.complete(db, TaskRef("__invoke:root", 1), NOW)
    resolve(db, "leaf")
    send(db)
    dispatch.recover(db, NOW)
    dispatch.wake_for_connection(db, "workers", "one")
    for has_ended in (True, False):
        dispatch.take_back_of_process(db, "one", 0, has_ended=has_ended)
    expire(db, NOW)
    deadlines.next_due(db)
    promises.get(db, "root", NOW)
    db.set_trace_callback(None)
    plans = {
        statement: [step for *_, step in db.execute(f"EXPLAIN QUERY PLAN {statement}")]
        for statement in statements
    }
    assert len(plans) > 15
    scans = {s: [step for step in plan if step.startswith("SCAN")] for s, plan in plans.items()}
    full = {s: steps for s, steps in scans.items() if any("INDEX" not in x for x in steps)}
    # The search of `next_due` may read each of its few results.
    assert all("MIN(due)" in statement for statement in full), full


# The file


def test_committed_data_is_there_after_reopening(tmp_path: Path) -> None:
    path = str(tmp_path / "x.db")
    db = open_database(path)
    with transaction(db):
        create(db, "kept")
    with pytest.raises(KeyError), transaction(db):
        create(db, "undone")
        raise KeyError
    db.close()
    db = open_database(path)
    assert promises.get(db, "kept", NOW).id == "kept"
    with pytest.raises(ProtocolError):
        promises.get(db, "undone", NOW)
    db.close()


@pytest.mark.parametrize("content", [b"no database", b"x" * 10_000])
def test_a_foreign_file_is_not_changed(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(DatabaseError, match=r"notes\.txt"):
        open_database(str(path))
    assert path.read_bytes() == content


def test_a_foreign_database_is_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    theirs = sqlite3.connect(path)
    theirs.execute("CREATE TABLE promises (id)")
    theirs.close()
    content = path.read_bytes()
    with pytest.raises(DatabaseError, match="another program"):
        open_database(str(path))
    assert path.read_bytes() == content


def test_a_file_has_one_server(tmp_path: Path) -> None:
    path = str(tmp_path / "x.db")
    db = open_database(path)
    with pytest.raises(DatabaseError, match="locked"):
        open_database(path)
    db.close()
    open_database(path).close()


def test_only_a_use_of_a_stored_result_is_recorded(
    db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def uses() -> list[tuple[str, str | None]]:
        rows = db.execute("SELECT promise_id, caller_id FROM uses ORDER BY sort_id")
        return [(row["promise_id"], row["caller_id"]) for row in rows]

    of_maker, of_waiter, of_other = ({"resonate:parent": it} for it in ("maker", "waiter", "other"))
    create(db, "call", key="k", tags=of_maker)
    create(db, "call", key="k", tags=of_waiter)  # not complete yet
    recv = msgspec.Raw(b'"poll://any@workers"')
    promises.create_callback(db, "call", CreateCallback("waiter", recv, LATER), ANYBODY, NOW)
    resolve(db, "call")
    for tags in (of_maker, of_waiter, of_other, of_other):  # each runs again from the top
        create(db, "call", key="k", tags=tags)
    assert uses() == [("call", "other")]
    create(db, "timer", key="k", tags={"resonate:timeout": "true"})
    resolve(db, "timer")
    create(db, "timer", key="k", tags={"resonate:timeout": "true"})
    monkeypatch.setattr(promises, "MAX_USES", 2)
    for _ in range(2):  # clients
        create(db, "call", key="k", tags={"resonate:parent": "call"})
    assert uses() == [("call", None)] * 2
