"""Requests that share a commit, the messages after it, and failures of the disk and the clock."""

from __future__ import annotations

import asyncio
import errno
import sqlite3
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from devserver.connections import Connection, Connections
from devserver.engine import Engine
from devserver.store import promises
from devserver.store.database import Database, open_database
from devserver.store.dispatch import MAX_UNCLAIMED
from devserver.store.errors import Code, ProtocolError
from devserver.store.models import (
    CompletePromise,
    CreatePromise,
    CreatePromiseAndTask,
    TaskClaimer,
)
from devserver.store.promises import Caller

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from devserver.engine import Transition

INVOKE = {"resonate:invoke": "poll://any@workers/one"}


@contextmanager
def running(db: Database, *streams: Connection) -> Iterator[Engine]:
    """Run an engine with some open streams."""
    connections = Connections()
    for stream in streams:
        connections.add(stream)
    engine = Engine(db, connections, "", failed=print)
    yield engine
    engine.stop()


def create(promise_id: str, **fields: Any) -> Transition[Any]:
    request = CreatePromise(promise_id, **({"timeout": 2**42} | fields))
    return lambda db, now: promises.create(db, request, Caller(), now)


def states(db: sqlite3.Connection) -> dict[str, str]:
    return dict(db.execute("SELECT id, state FROM promises").fetchall())


def test_a_transition_that_fails_is_undone_and_the_others_of_its_commit_succeed(
    db: Database,
) -> None:
    def fail_in_the_middle(db: sqlite3.Connection, now: int) -> None:
        create("undone")(db, now)
        raise KeyError

    def resolve_too_late(db: sqlite3.Connection, now: int) -> None:
        promises.complete(db, "late", CompletePromise("RESOLVED"), Caller(strict=True), now)

    async def run() -> list[Any]:
        with running(db) as engine:
            together = [create("late", timeout=1), resolve_too_late, create("after")]
            waiting = [engine.run(one) for one in [*together, fail_in_the_middle]]
            return await asyncio.gather(*waiting, return_exceptions=True)

    _, refusal, _, failure = asyncio.run(run())
    assert isinstance(failure, KeyError)
    # A refusal is an answer, which keeps the changes before it.
    assert isinstance(refusal, ProtocolError)
    assert refusal.code == Code.PROMISE_TIMEDOUT
    assert states(db) == {"late": "REJECTED_TIMEDOUT", "after": "PENDING"}


def test_a_message_that_was_not_claimed_goes_to_another_connection(db: Database) -> None:
    one, two = Connection("workers", "one"), Connection("workers", "two")

    async def run() -> None:
        with running(db, one, two) as engine:
            await engine.run(create("p", tags=INVOKE))
            for counter, stream in ((1, one), (2, two)):
                sent = await stream.next()
                assert sent is not None
                assert sent.message.task is not None
                assert (sent.task_id, sent.message.task.counter) == ("__invoke:p", counter)
                await engine.run(lambda db, _: db.execute("UPDATE tasks SET expires_at = 1"))

    asyncio.run(run())


def test_a_parked_call_is_sent_although_the_one_before_it_ends(db: Database) -> None:
    one = Connection("workers", "one")

    def resolve(promise_id: str) -> Transition[Any]:
        request = CompletePromise("RESOLVED")
        return lambda db, now: promises.complete(db, promise_id, request, Caller(), now)

    async def run() -> None:
        with running(db, one) as engine:
            for i in range(MAX_UNCLAIMED + 2):
                await engine.run(create(f"p{i}", tags=INVOKE))
            # The first one makes room for another call, and the second one is the next parked call.
            await asyncio.gather(*(engine.run(resolve(f"p{i}")) for i in (0, MAX_UNCLAIMED)))
            sent = [await one.next() for _ in range(MAX_UNCLAIMED + 1)]
            assert sent[-1] is not None
            assert sent[-1].task_id == f"__invoke:p{MAX_UNCLAIMED + 1}"

    asyncio.run(run())


def test_a_process_that_opens_another_stream_is_not_silent(db: Database) -> None:
    one, two = Connection("workers", "one"), Connection("workers", "two")

    async def run() -> None:
        with running(db, one, two) as engine:
            await engine.run(create("p", tags=INVOKE))
            await engine.run(lambda db, _: db.execute("UPDATE tasks SET expires_at = 1"))
            engine.connected("one", "workers")
            await engine.run(create("q", tags=INVOKE))
            sent = [await one.next(), await two.next(), await one.next()]
            assert [it and it.task_id for it in sent] == ["__invoke:p", "__invoke:p", "__invoke:q"]

    asyncio.run(run())


def test_the_engine_acknowledges_nothing_after_a_failure_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.db"
    failures: list[sqlite3.Error] = []

    def fail_to_write(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    async def run(db: Database) -> None:
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

    with closing(open_database(str(path))) as db:
        asyncio.run(run(db))
    assert len(failures) == 1
    assert path.with_name("x.db-wal").exists(), "SQLite has moved commits that may be damaged"
    with closing(open_database(str(path))) as again:
        assert "after" not in states(again)


@pytest.mark.parametrize("jump", [-3_600_000, 3_600_000])
def test_a_lease_lasts_as_long_as_before_if_the_clock_jumps(
    db: Database, jump: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock jumps if it is set, and if the server did not run for a while."""
    request = CreatePromiseAndTask(
        CreatePromise("p", timeout=2**42, tags=INVOKE), TaskClaimer("one", 3_000_000)
    )

    def lease(db: sqlite3.Connection, now: int) -> int:
        (expires_at,) = db.execute("SELECT expires_at FROM tasks").fetchone()
        return int(expires_at) - now

    async def run() -> None:
        with running(db) as engine:
            engine.start()
            await engine.run(lambda db, now: promises.create_with_task(db, request, Caller(), now))
            clock = time.time_ns
            monkeypatch.setattr("time.time_ns", lambda: clock() + jump * 1_000_000)
            for _ in range(2):
                assert 2_000_000 < await engine.run(lease) <= 3_000_000

    asyncio.run(run())
