"""No task waits for a process that can take it, whatever happens in one commit."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING

import msgspec
import pytest

from devserver.connections import Connection, Connections
from devserver.engine import Engine
from devserver.store import address, dispatch, promises, tasks
from devserver.store.errors import ProtocolError
from devserver.store.models import (
    ClaimTask,
    CompletePromise,
    CreateCallback,
    CreatePromise,
    TaskRef,
)
from devserver.store.promises import Caller

if TYPE_CHECKING:
    from devserver.engine import Transition
    from devserver.store.database import Database

FAR = 2**42
MOST = 2  # unclaimed messages of a process


class World:
    """An engine, the open streams, and what happens at random.

    Args:
        db: the database.
        seed: chooses what happens.
    """

    def __init__(self, db: Database, seed: int) -> None:
        self.db = db
        self.random = Random(seed)
        self.connections = Connections()
        self.engine = Engine(db, self.connections, "", print)
        self.streams: list[Connection] = []
        self.ids = ["p"]

    async def step(self) -> None:
        """Open or close a stream, or send a request."""
        match self.random.randrange(10):
            case 0:
                stream = Connection(self.random.choice("ab"), self.random.choice(["one", "two"]))
                self.streams.append(stream)
                self.connections.add(stream)
                self.engine.connected(stream.id, stream.group)
            case 1 if self.streams:
                stream = self.streams.pop(self.random.randrange(len(self.streams)))
                is_last = self.connections.remove(stream)
                self.engine.disconnected(
                    stream.id, stream.group, is_last=is_last, has_ended=is_last
                )
            case _:
                with suppress(ProtocolError):
                    await self.engine.run(self.request())

    def request(self) -> Transition[object]:
        """Choose a request."""
        one, other = self.random.choices(self.ids[-8:], k=2)
        receiver = f"poll://{self.random.choice(['any', 'uni'])}@{self.random.choice('ab')}/one"
        kind = self.random.choice(["create", "create", "wait", "wait", "resolve", "work", "work"])
        out = self.db.execute("SELECT * FROM tasks WHERE state IN ('ENQUEUED', 'CLAIMED')")
        if kind == "work" and (rows := out.fetchall()):
            row = self.random.choice(rows)
            if row["state"] == "CLAIMED":
                done = TaskRef(row["id"], row["counter"])
                return lambda db, now: tasks.complete(db, done, now)
            claim = ClaimTask(
                id=row["id"], counter=row["counter"], process_id=row["process_id"], ttl=FAR
            )
            return lambda db, now: tasks.claim(db, claim, now)
        if kind == "wait":
            wait = CreateCallback(one, msgspec.Raw(f'"{receiver}"'.encode()), FAR)
            return lambda db, now: promises.create_callback(db, other, wait, Caller(), now)
        if kind == "resolve":
            result = CompletePromise("RESOLVED")
            return lambda db, now: promises.complete(db, one, result, Caller(), now)
        self.ids.append(f"p{len(self.ids)}")
        new = CreatePromise(self.ids[-1], timeout=FAR, tags={"resonate:invoke": receiver})
        return lambda db, now: promises.create(db, new, Caller(), now)

    def check(self) -> None:
        """Check all waiting tasks."""
        unclaimed = dispatch.unclaimed(self.db)
        rows = self.db.execute("SELECT * FROM tasks").fetchall()
        # INIT: the task pauses, because its workers have ended.
        busy = {"INIT", "ENQUEUED", "CLAIMED"}
        busy_roots = {row["root_promise_id"] for row in rows if row["state"] in busy}
        for row in rows:
            if row["root_promise_id"] in busy_roots:
                continue
            assert row["state"] != "BLOCKED"
            if row["state"] == "PARKED":
                target = address.parse(row["recv"])
                assert target is not None
                for stream in self.streams:
                    fits = target.cast == "any" or stream.id == target.id
                    if stream.group == target.group and fits:
                        assert unclaimed[stream.group, stream.id] >= MOST


@pytest.mark.parametrize("seed", range(20))
def test_no_task_waits_for_a_process_that_can_take_it(
    db: Database, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("connections", "store.dispatch"):
        monkeypatch.setattr(f"devserver.{module}.MAX_UNCLAIMED", MOST)

    async def run() -> None:
        world = World(db, seed)
        for _ in range(100):
            await asyncio.gather(*(world.step() for _ in range(world.random.randrange(1, 4))))
            await asyncio.sleep(0)
            await world.engine.run(lambda *_: None)
            world.check()
        world.engine.stop()

    asyncio.run(run())
