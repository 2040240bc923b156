"""What becomes of requests that share a commit."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from devserver.connections import Connections
from devserver.engine import Engine
from devserver.errors import Code, ProtocolError
from devserver.models import CompletePromise, CreatePromise
from devserver.store import promises
from devserver.store.database import open_database
from devserver.store.promises import Caller

if TYPE_CHECKING:
    import sqlite3

    from devserver.engine import Transition


def run_together(db: sqlite3.Connection, *transitions: Transition[Any]) -> list[Any]:
    """Give an engine some transitions at once; an error is an outcome like any other."""

    async def run() -> list[Any]:
        engine = Engine(db, Connections(), failed=print)
        waiting = [engine.run(transition) for transition in transitions]
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        engine.stop()
        return outcomes

    return asyncio.run(run())


def create(promise_id: str, timeout: int = 2**42) -> Transition[Any]:
    request = CreatePromise(id=promise_id, timeout=timeout)
    return lambda db, now: promises.create(db, request, Caller(), now)


def fail_in_the_middle(db: sqlite3.Connection, now: int) -> None:
    create("undone")(db, now)
    raise KeyError


def states(db: sqlite3.Connection) -> dict[str, str]:
    return dict(db.execute("SELECT id, state FROM promises"))


def test_a_fault_undoes_itself_and_holds_up_nobody() -> None:
    db = open_database(":memory:")
    outcomes = run_together(db, create("before"), fail_in_the_middle, create("after"))
    assert isinstance(outcomes[1], KeyError)
    assert states(db) == {"before": "PENDING", "after": "PENDING"}
    db.close()


def test_a_refusal_keeps_what_led_to_it() -> None:
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
