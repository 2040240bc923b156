"""The guarantees of the store in any order of events. Hypothesis chooses the order."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import suppress
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from devserver.store import deadlines, dispatch, promises, tasks
from devserver.store.database import Database, open_database, transaction
from devserver.store.errors import ProtocolError
from devserver.store.models import (
    ClaimTask,
    CompletePromise,
    CreateCallback,
    CreatePromise,
    CreatePromiseAndTask,
    CreateSubscription,
    TaskClaimer,
    TaskRef,
    Value,
)
from devserver.store.promises import Caller
from devserver.store.rows import find_promise

if TYPE_CHECKING:
    from collections.abc import Callable

    from devserver.store.address import Address
    from devserver.store.models import Callback, Promise

    type Row = dict[str, Any]

NOW = 1_000_000
FOREVER = (
    2**62
)  # later than any time in the test, but sums with it still fit into SQLite's integers
OUT = {"ENQUEUED", "CLAIMED"}
DONE = {"COMPLETED", "TIMEDOUT"}
# The columns of a promise that its completion may change.
OUTCOME = {"state", "value_headers", "value_data", "idempotency_key_for_complete", "completed_on"}

# The columns of a notification that is sent again after a restart.
SENT = {"state", "process_id", "counter", "expires_at"}

INVOKE = {"resonate:invoke": "poll://any@workers"}
TIMER = {"resonate:timeout": "true"}
DELAY = {"resonate:delay": str(NOW + 5_000)}

# Only a few values of each kind, so that they collide.
ids = st.sampled_from(["a", "b", "c", "d", "e", "f"])
known = st.runner().flatmap(lambda store: st.sampled_from([*store.rows.promises, "f"]))
tags = st.sampled_from([{}, INVOKE, INVOKE | TIMER, TIMER, INVOKE | DELAY])
processes = st.sampled_from(["one", "two"])
receivers = st.sampled_from(["poll://any@workers/one", "poll://uni@clients/two", "http://other"])
timeouts = st.sampled_from([1_000_000, 100_000, 5_000, 0, FOREVER])
ttls = st.sampled_from([0, 10_000, 2**63 - 1])
moments = st.runner().flatmap(lambda store: st.sampled_from(store.next_moments()))
# A task as it was sent to a worker, or with a counter that it never had. (A guessed counter could
# be right, and then the task would be claimed while another task of the root is out.)
sent = st.runner().flatmap(lambda store: st.sampled_from(store.sent_lately()))
sent_or_wrong = sent | sent | sent.map(lambda task: TaskRef(task.id, task.counter + 100))
callers = st.builds(
    Caller, st.sampled_from([None, "k", "l"]), st.booleans(), st.none() | sent_or_wrong
)


class Rows(NamedTuple):
    """The rows of the database, by id."""

    promises: dict[str, Row]
    tasks: dict[str, Row]
    callbacks: dict[str, Row]


def read(db: sqlite3.Connection) -> Rows:
    def table(query: str) -> dict[str, Row]:
        cursor = db.cursor()
        cursor.row_factory = sqlite3.Row
        return {row["id"]: dict(row) for row in cursor.execute(query)}

    return Rows(
        table("SELECT * FROM promises"),
        table("SELECT * FROM tasks"),
        table("SELECT * FROM callbacks"),
    )


def without(row: Row, columns: set[str]) -> Row:
    return {column: value for column, value in row.items() if column not in columns}


def check_step(before: Rows, after: Rows) -> None:
    """Check that no row is lost, and that finished rows do not change."""
    for promise_id, was in before.promises.items():
        changeable = OUTCOME if was["state"] == "PENDING" else set[str]()
        assert without(after.promises[promise_id], changeable) == without(was, changeable)
    for task_id, was in before.tasks.items():
        task = after.tasks[task_id]
        taken_back = was["state"] in OUT and task["state"] == "INIT"
        assert task["counter"] == was["counter"] + taken_back
        if was["state"] in DONE:
            assert task == was


class Store(RuleBasedStateMachine):
    """The store's transitions, each in a separate commit, and what the test knows about them.

    Args:
        sent: the tasks that were sent to workers, with their counters.
        awaited: all callbacks that were ever created, each with the promise that it waits for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.path = str(Path(self.folder.name) / "x.db")
        self.db = self.open()
        self.now = NOW
        self.rows = self.restarted = read(self.db)
        self.sent: list[TaskRef] = []
        self.awaited: dict[str, str] = {}

    def open(self) -> Database:
        db = open_database(self.path)
        # This test does not simulate power failures, and waiting for the disk would take long.
        db.execute("PRAGMA synchronous = OFF")
        return db

    def teardown(self) -> None:
        self.db.close()
        self.folder.cleanup()

    def run[T](self, transition: Callable[[sqlite3.Connection, int], T]) -> T | None:
        """Run a transition as the engine does. Returns None if it refuses the request."""
        answer = None
        with transaction(self.db), suppress(ProtocolError):
            answer = transition(self.db, self.now)
        before, self.rows = self.rows, read(self.db)
        check_step(before, self.rows)
        return answer

    def run_fenced[T](
        self, caller: Caller, transition: Callable[[sqlite3.Connection, int], T]
    ) -> T | None:
        """Run a transition that must not change anything unless the caller has claimed its task."""
        before = self.rows
        answer = self.run(transition)
        if caller.fence and not self.has(before, "CLAIMED", caller.fence):
            assert answer is None
            assert self.rows == before
        return answer

    def tasks_in(self, *states: str) -> list[Row]:
        return [task for task in self.rows.tasks.values() if task["state"] in states]

    def has(self, rows: Rows, state: str, task: TaskRef) -> bool:
        row = rows.tasks[task.id]
        return (row["state"], row["counter"]) == (state, task.counter)

    @initialize()
    def begin(self) -> None:
        """Create promises and callbacks for the rules that need some."""
        self.create_with_task("a", 1_000_000, INVOKE, Caller(), "one", 10_000)
        for promise_id, tags in {"b": INVOKE, "c": {}, "d": {}}.items():
            self.create(promise_id, 1_000_000, tags, Caller())
        for root, promise_id in product("ab", "cd"):
            self.wait_for(promise_id, root, "poll://any@workers", 1_000_000, Caller())

    def next_moments(self) -> list[int]:
        """The next times at which something might happen."""
        rows = self.rows
        times = {
            *(promise["timeout"] for promise in rows.promises.values()),
            *(task["expires_at"] for task in rows.tasks.values()),
        }
        ahead = sorted(time for time in times if self.now < time < FOREVER)
        return [self.now + 1, *ahead[:3]]

    def sent_lately(self) -> list[TaskRef]:
        """The tasks that were sent to workers and may not be finished."""
        states = {task_id: task["state"] for task_id, task in self.rows.tasks.items()}
        lately = [task for task in self.sent if states[task.id] not in DONE]
        return lately[-4:] or self.sent[-1:]

    # Promises

    @rule(promise_id=ids, timeout=timeouts, tags=tags, caller=callers)
    def create(self, promise_id: str, timeout: int, tags: dict[str, str], caller: Caller) -> None:
        existed = promise_id in self.rows.promises
        request = CreatePromise(promise_id, timeout=self.now + timeout, tags=tags)
        answer = self.run_fenced(caller, lambda db, now: promises.create(db, request, caller, now))
        if answer:
            self.check_created(existed, caller, *answer)

    @rule(promise_id=ids, timeout=timeouts, tags=tags, caller=callers, process=processes, ttl=ttls)
    def create_with_task(
        self,
        promise_id: str,
        timeout: int,
        tags: dict[str, str],
        caller: Caller,
        process: str,
        ttl: int,
    ) -> None:
        if any(task["root_promise_id"] == promise_id for task in self.tasks_in(*OUT)):
            # A callback can name a root that does not exist yet. Its task can then be out when the
            # root is created with a claimed task. The real server allows this too.
            return
        existed = promise_id in self.rows.promises
        request = CreatePromiseAndTask(
            CreatePromise(promise_id, timeout=self.now + timeout, tags=tags),
            TaskClaimer(process, ttl),
        )
        answer = self.run(lambda db, now: promises.create_with_task(db, request, caller, now))
        if answer:
            created, promise, task = answer
            self.check_created(existed, caller, created, promise)
            assert (task is not None) == (created and "resonate:invoke" in tags)
            if task:
                assert self.rows.tasks[task.id]["state"] == "CLAIMED"
                self.sent.append(TaskRef(task.id, task.counter))

    def check_created(self, existed: bool, caller: Caller, created: bool, promise: Promise) -> None:
        assert created == (not existed)
        assert promise == find_promise(self.db, promise.id)
        assert promise.idempotency_key_for_create == caller.idempotency_key

    @rule(
        promise_id=known,
        state=st.sampled_from(["RESOLVED", "rejected", "REJECTED_CANCELED"]),
        data=st.sampled_from([b"", b"42"]),
        caller=callers,
    )
    def complete(self, promise_id: str, state: str, data: bytes, caller: Caller) -> None:
        was = self.rows.promises.get(promise_id)
        request = CompletePromise(state, Value(data=data))
        answer = self.run_fenced(
            caller, lambda db, now: promises.complete(db, promise_id, request, caller, now)
        )
        if answer:
            assert was is not None
            completed, promise = answer
            assert promise == find_promise(self.db, promise_id)
            assert completed == (was["state"] == "PENDING" and self.now < was["timeout"])
            if completed:
                assert (promise.state, promise.value.data) == (state.upper(), data)
                assert promise.idempotency_key_for_complete == caller.idempotency_key
                assert promise.completed_on == self.now

    @rule(promise_id=known, root=ids, receiver=receivers, timeout=timeouts, caller=callers)
    def wait_for(
        self, promise_id: str, root: str, receiver: str, timeout: int, caller: Caller
    ) -> None:
        request = CreateCallback(root, to_raw(receiver), self.now + timeout)
        answer = self.run_fenced(
            caller, lambda db, now: promises.create_callback(db, promise_id, request, caller, now)
        )
        self.check_callback(promise_id, answer)

    @rule(promise_id=known, name=st.sampled_from("xy"), receiver=receivers, timeout=timeouts)
    def subscribe(self, promise_id: str, name: str, receiver: str, timeout: int) -> None:
        request = CreateSubscription(name, to_raw(receiver), self.now + timeout)
        answer = self.run(
            lambda db, now: promises.create_subscription(db, promise_id, request, Caller(), now)
        )
        self.check_callback(promise_id, answer)

    def check_callback(
        self, promise_id: str, answer: tuple[Callback | None, Promise] | None
    ) -> None:
        if answer:
            callback, promise = answer
            assert promise == find_promise(self.db, promise_id)
            if callback:
                assert callback.id not in self.awaited
                self.awaited[callback.id] = promise_id

    # Tasks

    @precondition(lambda self: any(t["expires_at"] <= self.now for t in self.tasks_in("INIT")))
    @rule(
        process=processes,
        away=st.sampled_from(["nobody", "nobody", "workers", "clients"]),
        stopped=st.booleans(),
    )
    def send_ready(self, process: str, away: str, stopped: bool) -> None:
        def choose(address: Address, _: str) -> str | None:
            return None if address.group == away else address.id or process

        before = self.rows.tasks
        notified: list[str] = []
        deliveries = self.run(lambda db, now: dispatch.send_ready(db, choose, now)) or []
        for _, process_id, task_id, message in deliveries:
            was, task = before[task_id], self.rows.tasks[task_id]
            assert was["state"] == "INIT"
            assert was["expires_at"] <= self.now < was["timeout"]
            assert (task["state"], task["process_id"]) == ("ENQUEUED", process_id)
            assert message.type == task["type"]
            if message.type == "notify":
                assert message.promise_id == task["root_promise_id"]
                notified.append(task_id)
            else:
                assert message.task is not None
                assert (message.task.id, message.task.counter) == (task_id, task["counter"])
                self.check_delay(task)
                self.sent.append(TaskRef(task_id, task["counter"]))
        out = {t["root_promise_id"] for t in self.rows.tasks.values() if t["state"] in OUT}
        for task in self.rows.tasks.values():
            if task["state"] == "INIT" and task["expires_at"] <= self.now:
                assert task["root_promise_id"] in out, (
                    "a task waits only for another task of its root"
                )
        # The engine does this next, unless the server stops before.
        if not stopped:
            self.run(lambda db, now: dispatch.complete_notified(db, notified, now))
            assert all(self.rows.tasks[task_id]["state"] == "COMPLETED" for task_id in notified)

    def check_delay(self, task: Row) -> None:
        if task["type"] == "invoke" and task["counter"] == 1:
            promise = find_promise(self.db, task["root_promise_id"])
            assert promise is not None
            delay = int(promise.tags.get("resonate:delay", "0"))
            assert delay <= self.now

    @rule(task=sent_or_wrong, process=processes, ttl=ttls)
    def claim(self, task: TaskRef, process: str, ttl: int) -> None:
        request = ClaimTask(id=task.id, counter=task.counter, process_id=process, ttl=ttl)
        before = self.rows
        was = before.tasks[task.id]
        is_same = (was["process_id"], was["counter"]) == (process, task.counter)
        answer = self.run(lambda db, now: tasks.claim(db, request, now))
        if self.has(before, "ENQUEUED", request) or (was["state"] == "CLAIMED" and is_same):
            assert answer is not None
            assert self.has(self.rows, "CLAIMED", request)
            assert self.rows.tasks[task.id]["process_id"] == process
            assert answer.root == find_promise(self.db, answer.root_id)
        else:
            # A promise that was completed while its message was on its way may still be claimed.
            is_late = was["state"] in DONE and was["claimed_by"] is None and is_same
            assert (answer is not None) == (is_late and was["type"] == "invoke")
            assert self.rows == before

    @rule(task=sent_or_wrong)
    def complete_task(self, task: TaskRef) -> None:
        before = self.rows
        answer = self.run(lambda db, now: tasks.complete(db, task, now))
        if self.has(before, "CLAIMED", task):
            assert answer is not None
            assert answer[0]
            assert self.has(self.rows, "COMPLETED", task)
        else:
            assert self.rows == before

    @rule(task=sent_or_wrong)
    def drop(self, task: TaskRef) -> None:
        before = self.rows
        dropped = self.run(lambda db, now: tasks.drop(db, task, now))
        assert bool(dropped) == self.has(before, "CLAIMED", task)
        assert (self.rows == before) == (not dropped)

    @precondition(lambda self: self.tasks_in("CLAIMED"))
    @rule(process=processes)
    def heartbeat(self, process: str) -> None:
        held = [
            task_id
            for task_id, task in self.rows.tasks.items()
            if (task["state"], task["process_id"]) == ("CLAIMED", process)
        ]
        assert self.run(lambda db, now: tasks.heartbeat(db, process, now)) == len(held)
        for task_id in held:
            task = self.rows.tasks[task_id]
            assert task["expires_at"] == min(self.now + task["ttl"], task["timeout"])

    @precondition(lambda self: self.tasks_in("PARKED"))
    @rule()
    def wake_parked(self) -> None:
        for group, process in (("workers", "one"), ("clients", "two")):
            self.run(partial(_wake, group, process))
        for task in self.tasks_in("PARKED"):
            assert task["parked_group"] is None

    @precondition(lambda self: self.tasks_in(*OUT))
    @rule(process=processes, has_ended=st.booleans())
    def take_back_of_process(self, process: str, has_ended: bool) -> None:
        self.run(
            lambda db, now: dispatch.take_back_of_process(db, process, now, has_ended=has_ended)
        )
        for task in self.tasks_in(*OUT if has_ended else ["ENQUEUED"]):
            assert task["process_id"] != process

    # Time, and the server itself

    @rule(moment=moments, late=st.booleans())
    def let_time_pass(self, moment: int, late: bool) -> None:
        self.now = moment
        if late:
            return  # requests come first
        self.run(deadlines.expire)
        self.run(dispatch.take_back_expired)
        for promise in self.rows.promises.values():
            assert promise["state"] != "PENDING" or promise["timeout"] > self.now
        for task in self.tasks_in("BLOCKED", "PARKED", *OUT):
            assert task["expires_at"] > self.now

    @precondition(lambda self: self.rows != self.restarted)
    @rule()
    def restart(self) -> None:
        before = self.restarted = self.rows
        self.db.close()
        self.db = self.open()
        assert read(self.db) == before
        self.run(dispatch.recover)
        assert self.rows._replace(tasks={}) == before._replace(tasks={})
        for task_id, task in self.rows.tasks.items():
            changeable = SENT if task["type"] == "notify" else {"expires_at"}
            assert without(task, changeable) == without(before.tasks[task_id], changeable)

    # Invariants

    @invariant()
    def each_callback_becomes_a_task_when_its_promise_is_complete(self) -> None:
        fired = {
            callback_id: promise_id
            for callback_id, promise_id in self.awaited.items()
            if self.rows.promises[promise_id]["state"] != "PENDING"
        }
        assert self.rows.callbacks.keys() == self.awaited.keys() - fired.keys()
        assert fired == {
            task_id: task["leaf_promise_id"]
            for task_id, task in self.rows.tasks.items()
            if task["type"] != "invoke"
        }

    @invariant()
    def one_task_of_a_root_is_out_at_a_time(self) -> None:
        out = [
            t["root_promise_id"]
            for t in self.rows.tasks.values()
            if t["state"] in OUT and t["type"] != "notify"
        ]
        assert max(Counter(out).values(), default=0) <= 1

    @invariant()
    def a_task_waits_for_its_turn_only_while_another_one_may_have_it(self) -> None:
        active = {t["root_promise_id"] for t in self.tasks_in("INIT", *OUT)}
        for task in self.tasks_in("BLOCKED"):
            assert task["root_promise_id"] in active

    @invariant()
    def a_completed_promise_has_no_task_that_is_out(self) -> None:
        for task in self.rows.tasks.values():
            root = self.rows.promises.get(task["root_promise_id"])
            if root and root["state"] != "PENDING" and task["type"] != "notify":
                assert task["state"] not in OUT

    @invariant()
    def the_clock_is_watched_while_anything_waits_for_it(self) -> None:
        times = [
            *(p["timeout"] for p in self.rows.promises.values() if p["state"] == "PENDING"),
            *(t["expires_at"] for t in self.tasks_in("BLOCKED", "PARKED", *OUT)),
        ]
        if times:
            due = deadlines.next_due(self.db)
            assert due is not None
            assert due <= min(times)


def _wake(group: str, process: str, db: sqlite3.Connection, _: int) -> None:
    dispatch.wake_for_connection(db, group, process)


def to_raw(receiver: str) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(receiver))


@pytest.mark.timeout(1800)  # for the long form
def test_the_store_keeps_its_guarantees_in_any_order_of_events() -> None:
    examples = max(150, settings().max_examples)  # the default of 100 is too low for so many rules
    run_state_machine_as_test(
        Store, settings=settings(max_examples=examples, stateful_step_count=40, deadline=None)
    )
