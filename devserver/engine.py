"""Runs transitions of the store, and acts on what they led to.

All requests that are ready at the same time share one commit. Only when it is on disk are
they answered, and only then do the messages go out that came of them. A commit blocks the
event loop while the disk writes: SQLite has one writer, so nobody else could go on anyway.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from typing import TYPE_CHECKING, Any

from devserver.errors import ProtocolError
from devserver.store import deadlines, tasks
from devserver.store.database import transaction

if TYPE_CHECKING:
    from collections.abc import Callable

    from devserver.connections import Connection, Connections
    from devserver.store.tasks import Delivery

    type Transition[T] = Callable[[sqlite3.Connection, int], T]

logger = logging.getLogger(__name__)

# Even with nothing due, look at the clock this often (seconds): it may have been set.
LONGEST_SLEEP = 60.0


class Engine:
    """The one way to the store while the server runs.

    Args:
        db: the database.
        connections: who listens.
        failed: called when the database fails; the server cannot go on.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        connections: Connections,
        failed: Callable[[sqlite3.Error], None],
    ) -> None:
        self._db = db
        self._failed = failed
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
        self._start(tasks.recover)

    def stop(self) -> None:
        """Watch the clock no longer."""
        if self._timer is not None:
            self._timer.cancel()

    def connected(self, process_id: str) -> None:
        """Say that a process listens from now on, so that messages may go to it.

        What an earlier stream of its carried, and it has not claimed, it has not got.
        """

        def welcome(db: sqlite3.Connection, now: int) -> None:
            tasks.take_back_of_process(db, process_id, also_claimed=False)
            tasks.wake_parked(db, now)

        self._start(welcome)

    def disconnected(self, process_id: str, *, has_ended: bool) -> None:
        """Say that a process has closed its stream, so that its messages go to others.

        Args:
            process_id: the process.
            has_ended: whether that can only mean that it runs no more, so that what it has
                claimed goes to others too, and not only when the lease runs out.
        """
        self._start(
            lambda db, _: tasks.take_back_of_process(db, process_id, also_claimed=has_ended)
        )

    def spoke(self, process_id: str) -> None:
        """Say that a process has asked for something that shows it does not hang."""
        self._connections.spoke(process_id)

    def _start(self, transition: Transition[None]) -> None:
        """Run a transition whose outcome nobody waits for."""

        def report(future: asyncio.Future[None]) -> None:
            error = future.exception()
            if error is not None and not isinstance(error, sqlite3.Error):
                logger.error("devserver has a fault", exc_info=error)

        self._enqueue(transition).add_done_callback(report)

    def _enqueue(self, transition: Transition[Any]) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._commit_waiting)
        future: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((transition, future))
        return future

    def _commit_waiting(self) -> None:
        batch, self._waiting = self._waiting, []
        try:
            outcomes, deliveries, due = self._commit([transition for transition, _ in batch])
        except sqlite3.Error as e:
            # Nothing of the batch is done, and nothing more will be.
            outcomes, deliveries, due = [e] * len(batch), [], None
            self._failed(e)
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
        try:
            with transaction(self._db):
                outcomes = [self._outcome(transition, now) for transition in transitions]
                deliveries = tasks.send_ready(self._db, self._connections.choose, now)
                due = deadlines.next_due(self._db, now)
        except sqlite3.Error:
            raise  # the disk's or the file's failure, not this request's
        except Exception as e:  # noqa: BLE001 - it is one request's outcome
            if len(transitions) == 1:
                return [e], [], now + 1000  # what is due, the clock's next look finds out
            # Nothing of the batch is done. Alone, those that have no fault are not held up.
            parts = [self._commit([transition]) for transition in transitions]
            outcomes = [outcome for part, _, _ in parts for outcome in part]
            deliveries = [delivery for _, part, _ in parts for delivery in part]
            due = parts[-1][2]
        return outcomes, deliveries, due

    def _outcome(self, transition: Transition[Any], now: int) -> Any:
        try:
            return transition(self._db, now)
        except ProtocolError as e:
            return e  # an answer like any other: what led to it stays

    def _deliver(self, deliveries: list[Delivery[Connection]]) -> None:
        for delivery in deliveries:
            delivery.receiver.send(delivery.message)
        # Nobody claims a notification: that it was sent is all there is to know.
        notified = [d.task_id for d in deliveries if d.message.type == "notify"]
        if notified:
            self._start(lambda db, now: tasks.complete_notified(db, notified, now))

    def _set_timer(self, due: int | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        sleep = LONGEST_SLEEP
        if due is not None:
            sleep = min(max(due / 1000 - time.time(), 0), LONGEST_SLEEP)
        self._timer = asyncio.get_running_loop().call_later(sleep, self._tick)

    def _tick(self) -> None:
        def expire(db: sqlite3.Connection, now: int) -> None:
            for process_id in deadlines.expire(db, now):
                self._connections.fell_silent(process_id)

        self._start(expire)
