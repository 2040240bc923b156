"""Requests that share a commit, and the messages after the commit."""

from __future__ import annotations

import asyncio
import errno
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from devserver.connections import Connection, Connections
from devserver.engine import Engine
from devserver.store import promises
from devserver.store.database import open_database
from devserver.store.errors import Code, ProtocolError
from devserver.store.models import (
    CompletePromise,
    CreatePromise,
    CreatePromiseAndTask,
    TaskClaimer,
)
from devserver.store.promises import Caller

if TYPE_CHECKING:
    from pathlib import Path

    from devserver.engine import Transition
    from devserver.store.database import Database


def run_together(db: Database, *transitions: Transition[Any]) -> list[Any]:
    """Run some transitions of an engine in one commit. An outcome may be an error."""

    async def run() -> list[Any]:
        engine = Engine(db, Connections(), "", failed=print)
        waiting = [engine.run(transition) for transition in transitions]
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        engine.stop()
        return outcomes

    return asyncio.run(run())


def create(
    promise_id: str, timeout: int = 2**42, tags: dict[str, str] | None = None
) -> Transition[Any]:
    request = CreatePromise(id=promise_id, timeout=timeout, tags=tags or {})
    return lambda db, now: promises.create(db, request, Caller(), now)


def fail_in_the_middle(db: sqlite3.Connection, now: int) -> None:
    create("undone")(db, now)
    raise KeyError


def fail_to_write(_: int) -> None:
    raise OSError(errno.EIO, "Input/output error")


def states(db: sqlite3.Connection) -> dict[str, str]:
    return dict(db.execute("SELECT id, state FROM promises"))


def test_a_faulty_transition_is_undone_and_the_others_succeed() -> None:
    db = open_database(":memory:")
    outcomes = run_together(db, create("before"), fail_in_the_middle, create("after"))
    assert isinstance(outcomes[1], KeyError)
    assert states(db) == {"before": "PENDING", "after": "PENDING"}
    db.close()


def test_a_refusal_keeps_the_changes_before_it() -> None:
    db = open_database(":memory:")
    resolve = CompletePromise(state="RESOLVED")
    _, refusal, _ = run_together(
        db,
        create("late", timeout=1),
        lambda db, now: promises.complete(db, "late", resolve, Caller(strict=True), now),
        create("after"),
    )
    assert isinstance(refusal, ProtocolError)
    assert refusal.code == Code.PROMISE_TIMEDOUT
    assert states(db) == {"late": "REJECTED_TIMEDOUT", "after": "PENDING"}
    db.close()


def test_a_message_that_was_not_claimed_goes_to_another_connection() -> None:
    db = open_database(":memory:")
    one, two = Connection("workers", "one"), Connection("workers", "two")
    tags = {"resonate:invoke": "poll://any@workers/one"}

    async def run() -> None:
        connections = Connections()
        connections.add(one)
        connections.add(two)
        engine = Engine(db, connections, "", failed=print)
        await engine.run(create("p", tags=tags))
        sent = await one.next()
        await engine.run(lambda db, _: db.execute("UPDATE tasks SET expires_at = 1"))
        sent_again = await two.next()
        engine.stop()
        assert sent is not None
        assert sent.message.task is not None
        assert sent_again is not None
        assert sent_again.message.task is not None
        assert (sent.task_id, sent.message.task.counter) == ("__invoke:p", 1)
        assert (sent_again.task_id, sent_again.message.task.counter) == ("__invoke:p", 2)
        assert connections.members() == [("workers", "one", True), ("workers", "two", False)]

    asyncio.run(run())
    db.close()


def test_the_engine_acknowledges_nothing_after_a_failure_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.db"
    log = path.with_name("x.db-wal")
    db = open_database(str(path))
    failures: list[sqlite3.Error] = []

    async def run() -> None:
        engine = Engine(db, Connections(), "", failures.append)
        await engine.run(create("before"))
        with monkeypatch.context() as broken:
            broken.setattr("devserver.store.database._flush", fail_to_write)
            with pytest.raises(sqlite3.OperationalError, match="Input/output error"):
                await engine.run(create("lost"))
        # Now the disk works again, but the system may have dropped the promise "lost".
        for transition in (create("after"), lambda db, now: promises.get(db, "lost", now)):
            with pytest.raises(sqlite3.OperationalError, match="Input/output error"):
                await engine.run(transition)
        engine.stop()

    asyncio.run(run())
    assert len(failures) == 1
    db.close()
    assert log.exists(), "SQLite has moved commits to the file that may be damaged"
    with closing(open_database(str(path))) as again:
        assert "after" not in states(again)


@pytest.mark.parametrize("jump", [-3_600_000, 3_600_000])
def test_a_lease_lasts_as_long_as_before_if_the_clock_jumps(
    jump: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock jumps if it is set, and if the server did not run for a while."""
    db = open_database(":memory:")
    promise = CreatePromise(id="p", timeout=2**42, tags={"resonate:invoke": "poll://any@workers"})
    claimer = TaskClaimer(process_id="one", ttl=10_000)
    request = CreatePromiseAndTask(promise=promise, task=claimer)

    def lease(db: sqlite3.Connection, now: int) -> int:
        (expires_at,) = db.execute("SELECT expires_at FROM tasks").fetchone()
        return int(expires_at) - now

    async def run() -> None:
        engine = Engine(db, Connections(), "", failed=print)
        engine.start()
        await engine.run(lambda db, now: promises.create_with_task(db, request, Caller(), now))
        before = await engine.run(lease)
        clock = time.time_ns
        monkeypatch.setattr("time.time_ns", lambda: clock() + jump * 1_000_000)
        for _ in range(2):
            after = await engine.run(lease)
            assert abs(after - before) < 5_000
        engine.stop()

    asyncio.run(run())
    db.close()
