"""The guarantees of the store in any order of events. Hypothesis chooses the order."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
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
# Later than any time in the test, but sums with it still fit into SQLite's integers.
FOREVER = 2**62
OUT = {"ENQUEUED", "CLAIMED"}
DONE = {"COMPLETED", "TIMEDOUT"}
# The columns of a promise that its completion may change.
OUTCOME = {"state", "value_headers", "value_data", "idempotency_key_for_complete", "completed_on"}

INVOKE = {"resonate:invoke": "poll://any@workers"}
TIMER = {"resonate:timeout": "true"}
DELAY = {"resonate:delay": str(NOW + 5_000)}
WORKER = msgspec.Raw(b'"poll://any@workers/one"')
CLIENT = msgspec.Raw(b'"poll://uni@clients/two"')
ELSEWHERE = msgspec.Raw(b'"http://other"')

# Only a few values of each kind, so that they collide.
ids = st.sampled_from("abcdef")
known = st.runner().flatmap(lambda store: st.sampled_from([*store.rows.promises, "f"]))
tags = st.sampled_from([{}, INVOKE, INVOKE | TIMER, TIMER, INVOKE | DELAY])
processes = st.sampled_from(["one", "two"])
receivers = st.sampled_from([WORKER, CLIENT, ELSEWHERE])
timeouts = st.sampled_from([1_000_000, 100_000, 5_000, 0, FOREVER])
ttls = st.sampled_from([0, 10_000, 2**63 - 1])
claimers = st.builds(TaskClaimer, processes, ttls)
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


def read(db: Database) -> Rows:
    queries = (f"SELECT * FROM {table}" for table in Rows._fields)  # noqa: S608
    return Rows(*({row["id"]: dict(row) for row in db.execute(query)} for query in queries))


class Store(RuleBasedStateMachine):
    """The store's transitions, each in a separate commit, and what the test knows about them.

    Args:
        rows: the rows of the database, and `before`: those before the last transition.
        sent: the tasks that were sent to workers, with their counters.
        awaited: all callbacks that were ever created, each with the promise that it waits for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.db = self.open()
        self.now = NOW
        self.before = self.rows = self.restarted = read(self.db)
        self.sent: list[TaskRef] = []
        self.awaited: dict[str, str] = {}

    def open(self) -> Database:
        db = open_database(str(Path(self.folder.name) / "x.db"))
        # This test does not simulate power failures, and waiting for the disk would take long.
        db.execute("PRAGMA synchronous = OFF")
        return db

    def teardown(self) -> None:
        self.db.close()
        self.folder.cleanup()

    def run[T](self, transition: Callable[..., T], *args: object, **options: object) -> T | None:
        """Run a transition as the engine does. Returns None if it refuses the request."""
        answer = None
        with transaction(self.db), suppress(ProtocolError):
            answer = transition(self.db, *args, self.now, **options)
        self.before, self.rows = self.rows, read(self.db)
        self.check_that_nothing_is_lost()
        return answer

    def check_that_nothing_is_lost(self) -> None:
        for promise_id, was in self.before.promises.items():
            promise = self.rows.promises[promise_id]
            if promise != was:
                assert was["state"] == "PENDING"
                assert promise | dict.fromkeys(OUTCOME) == was | dict.fromkeys(OUTCOME)
        for task_id, was in self.before.tasks.items():
            task = self.rows.tasks[task_id]
            taken_back = was["state"] in OUT and task["state"] == "INIT"
            assert task["counter"] == was["counter"] + taken_back
            if was["state"] in DONE:
                assert task == was

    def check_fence(self, caller: Caller, answer: object) -> None:
        """Check that a request changed nothing unless its caller has claimed its task."""
        if caller.fence and not self.has(self.before, "CLAIMED", caller.fence):
            assert answer is None
            assert self.rows == self.before

    def check_only_tasks(self) -> None:
        """Check that the last transition changed only tasks: it does not wait for the disk."""
        assert self.rows._replace(tasks={}) == self.before._replace(tasks={})

    def tasks_in(self, *states: str) -> list[Row]:
        return [task for task in self.rows.tasks.values() if task["state"] in states]

    def has(self, rows: Rows, state: str, task: TaskRef) -> bool:
        row = rows.tasks[task.id]
        return (row["state"], row["counter"]) == (state, task.counter)

    @initialize()
    def begin(self) -> None:
        """Create promises and callbacks for the rules that need some."""
        self.create("a", 1_000_000, INVOKE, Caller(), TaskClaimer("one", 10_000))
        for promise_id, its_tags in {"b": INVOKE, "c": {}, "d": {}}.items():
            self.create(promise_id, 1_000_000, its_tags, Caller(), None)
        for root, promise_id in product("ab", "cd"):
            self.wait_for(promise_id, root, WORKER, 1_000_000, Caller())

    def next_moments(self) -> list[int]:
        """The next times at which something might happen."""
        times = {row["timeout"] for row in self.rows.promises.values()}
        times |= {row["expires_at"] for row in self.rows.tasks.values()}
        return [self.now + 1, *sorted(time for time in times if self.now < time < FOREVER)[:3]]

    def sent_lately(self) -> list[TaskRef]:
        """The tasks that were sent to workers and may not be finished."""
        lately = [task for task in self.sent if self.rows.tasks[task.id]["state"] not in DONE]
        return lately[-4:] or self.sent[-1:]

    # Promises

    @rule(promise_id=ids, timeout=timeouts, tags=tags, caller=callers, claimer=st.none() | claimers)
    def create(
        self,
        promise_id: str,
        timeout: int,
        tags: dict[str, str],
        caller: Caller,
        claimer: TaskClaimer | None,
    ) -> None:
        request = CreatePromise(promise_id, timeout=self.now + timeout, tags=tags)
        answer: tuple[Any, ...] | None
        if claimer is None:
            answer = self.run(promises.create, request, caller)
            self.check_fence(caller, answer)
        elif any(task["root_promise_id"] == promise_id for task in self.tasks_in(*OUT)):
            # A callback can name a root that does not exist yet. Its task can then be out when the
            # root is created with a claimed task. The real server allows this too.
            return
        else:
            with_task = CreatePromiseAndTask(request, claimer)
            answer = self.run(promises.create_with_task, with_task, caller)
        if answer:
            created, promise, *_ = answer
            assert created == (promise_id not in self.before.promises)
            assert promise == find_promise(self.db, promise_id)
            assert promise.idempotency_key_for_create == caller.idempotency_key
            if claimer and created and "resonate:invoke" in tags:
                self.sent.append(TaskRef(f"__invoke:{promise_id}", 1))
                assert self.has(self.rows, "CLAIMED", self.sent[-1])

    @rule(
        promise_id=known,
        state=st.sampled_from(["RESOLVED", "rejected", "REJECTED_CANCELED"]),
        data=st.sampled_from([b"", b"42"]),
        caller=callers,
    )
    def complete(self, promise_id: str, state: str, data: bytes, caller: Caller) -> None:
        request = CompletePromise(state, Value(data=data))
        answer = self.run(promises.complete, promise_id, request, caller)
        self.check_fence(caller, answer)
        if answer:
            completed, promise = answer
            was = self.before.promises[promise_id]
            assert promise == find_promise(self.db, promise_id)
            assert completed == (was["state"] == "PENDING" and self.now < was["timeout"])
            if completed:
                assert (promise.state, promise.value.data) == (state.upper(), data)
                assert promise.idempotency_key_for_complete == caller.idempotency_key
                assert promise.completed_on == self.now

    @rule(promise_id=known, root=ids, receiver=receivers, timeout=timeouts, caller=callers)
    def wait_for(
        self, promise_id: str, root: str, receiver: msgspec.Raw, timeout: int, caller: Caller
    ) -> None:
        request = CreateCallback(root, receiver, self.now + timeout)
        answer = self.run(promises.create_callback, promise_id, request, caller)
        self.check_fence(caller, answer)
        self.note_callback(promise_id, answer)

    @rule(promise_id=known, name=st.sampled_from("xy"), receiver=receivers, timeout=timeouts)
    def subscribe(self, promise_id: str, name: str, receiver: msgspec.Raw, timeout: int) -> None:
        request = CreateSubscription(name, receiver, self.now + timeout)
        answer = self.run(promises.create_subscription, promise_id, request, Caller())
        self.note_callback(promise_id, answer)

    def note_callback(
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

        deliveries = self.run(dispatch.send_ready, choose) or []
        self.check_only_tasks()
        notified = []
        for _, process_id, task_id, message in deliveries:
            was, task = self.before.tasks[task_id], self.rows.tasks[task_id]
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
                self.sent.append(TaskRef(task_id, task["counter"]))
        assert not any(task["expires_at"] <= self.now for task in self.tasks_in("INIT"))
        # The engine does this next, unless the server stops before.
        if not stopped:
            self.run(dispatch.complete_notified, notified)
            self.check_only_tasks()
            assert all(self.rows.tasks[task_id]["state"] == "COMPLETED" for task_id in notified)

    @rule(task=sent_or_wrong, process=processes, ttl=ttls)
    def claim(self, task: TaskRef, process: str, ttl: int) -> None:
        request = ClaimTask(id=task.id, counter=task.counter, process_id=process, ttl=ttl)
        answer = self.run(tasks.claim, request)
        self.check_only_tasks()
        was = self.before.tasks[task.id]
        is_same = (was["process_id"], was["counter"]) == (process, task.counter)
        if self.has(self.before, "ENQUEUED", task) or (was["state"] == "CLAIMED" and is_same):
            assert answer is not None
            assert self.has(self.rows, "CLAIMED", task)
            claimed = self.rows.tasks[task.id]
            assert claimed["process_id"] == process
            assert claimed["expires_at"] == min(self.now + claimed["ttl"], claimed["timeout"])
            assert answer.root == find_promise(self.db, answer.root_id)
        else:
            # A promise that was completed while its message was on its way may still be claimed.
            is_late = was["state"] in DONE and was["claimed_by"] is None and is_same
            assert (answer is not None) == (is_late and was["type"] == "invoke")
            assert self.rows == self.before

    @rule(task=sent_or_wrong)
    def complete_task(self, task: TaskRef) -> None:
        answer = self.run(tasks.complete, task)
        self.check_only_tasks()
        if self.has(self.before, "CLAIMED", task):
            assert answer is not None
            assert answer[0]
            assert self.has(self.rows, "COMPLETED", task)
        else:
            assert self.rows == self.before

    @rule(task=sent_or_wrong)
    def drop(self, task: TaskRef) -> None:
        dropped = self.run(tasks.drop, task)
        assert bool(dropped) == self.has(self.before, "CLAIMED", task)
        assert (self.rows == self.before) == (not dropped)

    @precondition(lambda self: self.tasks_in("CLAIMED"))
    @rule(process=processes)
    def heartbeat(self, process: str) -> None:
        renewed = self.run(tasks.heartbeat, process)
        self.check_only_tasks()
        leased = [task for task in self.tasks_in("CLAIMED") if task["process_id"] == process]
        assert renewed == len(leased)
        for task in leased:
            assert task["expires_at"] == min(self.now + task["ttl"], task["timeout"])

    @precondition(lambda self: self.tasks_in("PARKED"))
    @rule()
    def connect_processes(self) -> None:
        for group, process in (("workers", "one"), ("clients", "two")):
            self.run(lambda db, _: dispatch.wake_notifications(db, group, process))  # noqa: B023
            self.run(lambda db, _: dispatch.wake(db, group, process, 1_000))  # noqa: B023
        assert all(task["poll_group"] is None for task in self.tasks_in("PARKED"))

    @precondition(lambda self: self.tasks_in(*OUT))
    @rule(process=processes, has_ended=st.booleans())
    def disconnect(self, process: str, has_ended: bool) -> None:
        self.run(dispatch.take_back_of_process, process, has_ended=has_ended)
        for task in self.tasks_in(*OUT if has_ended else ["ENQUEUED"]):
            assert task["process_id"] != process

    # Time, and the server itself

    @rule(moment=moments, late=st.booleans())
    def let_time_pass(self, moment: int, late: bool) -> None:
        self.now = moment
        if late:
            return  # requests come first
        self.run(deadlines.expire)
        for promise_id, promise in self.rows.promises.items():
            assert promise["state"] != "PENDING" or promise["timeout"] > self.now
            if promise["state"] != self.before.promises[promise_id]["state"]:
                state = "RESOLVED" if "resonate:timeout" in promise["tags"] else "REJECTED_TIMEDOUT"
                assert (promise["state"], promise["completed_on"]) == (state, promise["timeout"])
        self.run(dispatch.take_back_expired)
        for task_id, was in self.before.tasks.items():
            is_taken_back = self.rows.tasks[task_id]["counter"] > was["counter"]
            assert is_taken_back == (was["state"] in OUT and was["expires_at"] <= self.now)

    @precondition(lambda self: self.rows != self.restarted)
    @rule()
    def restart(self) -> None:
        self.restarted = self.rows
        self.db.close()
        self.db = self.open()
        assert read(self.db) == self.rows
        self.run(dispatch.recover)
        self.check_only_tasks()
        for task_id, task in self.rows.tasks.items():
            if task["type"] != "notify":  # the server sends notifications again
                assert task == self.before.tasks[task_id] | {"expires_at": task["expires_at"]}
            if task["state"] == "CLAIMED":
                assert task["expires_at"] >= min(self.now + task["ttl"], task["timeout"])

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
        out = [t["root_promise_id"] for t in self.tasks_in(*OUT) if t["type"] != "notify"]
        assert max(Counter(out).values(), default=0) <= 1

    @invariant()
    def a_task_waits_for_its_turn_only_while_another_one_may_have_it(self) -> None:
        active = {task["root_promise_id"] for task in self.tasks_in("INIT", *OUT)}
        assert {task["root_promise_id"] for task in self.tasks_in("BLOCKED")} <= active

    @invariant()
    def a_completed_promise_has_no_task_that_is_out(self) -> None:
        for task in self.tasks_in(*OUT):
            root = self.rows.promises.get(task["root_promise_id"])
            assert root is None or root["state"] == "PENDING" or task["type"] == "notify"

    @invariant()
    def the_clock_is_watched_while_anything_waits_for_it(self) -> None:
        times = [p["timeout"] for p in self.rows.promises.values() if p["state"] == "PENDING"]
        times += [task["expires_at"] for task in self.tasks_in("BLOCKED", "PARKED", *OUT)]
        if times:
            due = deadlines.next_due(self.db)
            assert due is not None
            assert due <= min(times)


@pytest.mark.timeout(1800)  # for the long form
def test_the_store_keeps_its_guarantees_in_any_order_of_events() -> None:
    examples = max(150, settings().max_examples)  # the default of 100 is too low for so many rules
    run_state_machine_as_test(
        Store, settings=settings(max_examples=examples, stateful_step_count=40, deadline=None)
    )
