"""Runs transitions of the store, and acts on what they led to.

All requests that are ready at the same time share one commit. Only when it is on disk are
they answered, and only then do the messages go out that came of them. A commit blocks the
event loop while the disk writes: SQLite has one writer, so nobody else could go on anyway.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

from devserver.store import deadlines, tasks
from devserver.store.database import savepoint, transaction

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from devserver.connections import Connection, Connections
    from devserver.store.tasks import Delivery

    type Transition[T] = Callable[[sqlite3.Connection, int], T]

logger = logging.getLogger(__name__)

# Even with nothing due, look at the clock this often (seconds): it may have been set.
LONGEST_SLEEP = 60.0
# How long to wait before the server tries its own work again (seconds).
RETRY_DELAY = 1.0


class Engine:
    """The one way to the store while the server runs.

    Args:
        db: the database.
        connections: who listens.
    """

    def __init__(self, db: sqlite3.Connection, connections: Connections) -> None:
        self._db = db
        self._connections = connections
        self._waiting: list[tuple[Transition[Any], asyncio.Future[Any]]] = []
        self._timer: asyncio.TimerHandle | None = None

    async def run[T](self, transition: Transition[T]) -> T:
        """Run one transition and wait until it is durable.

        Args:
            transition: called with the database and the time in ms since the epoch.

        Returns:
            What the transition returned.

        Raises:
            ProtocolError: the transition did.
            sqlite3.Error: the database failed; nothing is done.
        """
        result: T = await self._enqueue(transition)
        return result

    def start(self) -> None:
        """Take up what an earlier run of the server left, and begin to watch the clock."""
        self._run_until_done(tasks.recover)

    def stop(self) -> None:
        """Watch the clock no longer."""
        if self._timer is not None:
            self._timer.cancel()

    def connected(self, process_id: str) -> None:
        """Say that a process listens from now on, so that messages may go to it.

        What an earlier stream of its carried, and it has not claimed, it has not got.
        """

        def welcome(db: sqlite3.Connection, now: int) -> None:
            tasks.take_back_unclaimed(db, process_id)
            tasks.wake_parked(db, now)

        self._run_until_done(welcome)

    def disconnected(self, process_id: str) -> None:
        """Say that a process is gone, so that messages it has not claimed go to others."""
        self._run_until_done(lambda db, _: tasks.take_back_unclaimed(db, process_id))

    def _enqueue(self, transition: Transition[Any]) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._commit_waiting)
        future: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((transition, future))
        return future

    def _run_until_done(self, transition: Transition[None]) -> None:
        """Run a transition that nobody asked for, so that nobody else would try again."""

        def check(future: asyncio.Future[None]) -> None:
            if error := future.exception():
                logger.error("The database failed: %s", error)
                asyncio.get_running_loop().call_later(RETRY_DELAY, self._run_until_done, transition)

        self._enqueue(transition).add_done_callback(check)

    def _commit_waiting(self) -> None:
        batch, self._waiting = self._waiting, []
        try:
            outcomes, deliveries, due = self._commit([transition for transition, _ in batch])
        except Exception as e:  # noqa: BLE001 - whatever it was, nothing of the batch is done
            outcomes, deliveries, due = [e] * len(batch), [], None
        for (_, future), outcome in zip(batch, outcomes, strict=True):
            if future.cancelled():
                continue
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
        self._deliver(deliveries)
        self._set_timer(due)

    def _commit(
        self, transitions: list[Transition[Any]]
    ) -> tuple[list[Any], list[Delivery[Connection]], int | None]:
        now = time.time_ns() // 1_000_000
        outcomes: list[Any] = []
        with transaction(self._db):
            for transition in transitions:
                try:
                    with savepoint(self._db):
                        outcomes.append(transition(self._db, now))
                except Exception as e:  # noqa: BLE001 - it is this one request's outcome
                    outcomes.append(e)
            deliveries = tasks.send_ready(self._db, self._connections.choose, now)
            due = deadlines.next_due(self._db, now)
        return outcomes, deliveries, due

    def _deliver(self, deliveries: list[Delivery[Connection]]) -> None:
        for delivery in deliveries:
            delivery.receiver.send(delivery.message)
        # Nobody claims a notification: that it was sent is all there is to know.
        notified = [d.task_id for d in deliveries if d.message.type == "notify"]
        if notified:
            self._run_until_done(lambda db, now: tasks.complete_notified(db, notified, now))

    def _set_timer(self, due: int | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        sleep = LONGEST_SLEEP
        if due is not None:
            sleep = min(max(due / 1000 - time.time(), 0), LONGEST_SLEEP)
        self._timer = asyncio.get_running_loop().call_later(sleep, self._tick)

    def _tick(self) -> None:
        self._run_until_done(deadlines.expire)
