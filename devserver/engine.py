"""Runs transitions of the store in transactions, and acts on the results after the commit.

All requests that are ready at the same moment share one commit. After the commit, the engine sends
the messages that they led to, waits for the disk, and answers them. A message contains no values,
so the worker can send its claim while the engine waits for the disk.

A commit is on disk before the engine answers, unless it only claims or completes tasks or renews
leases. A power failure also ends the processes on this machine that have claimed tasks, so an older
state of the tasks is then as good as the newest one. Every answer still waits for the earlier
commits, because it may contain their values. So does a notification, which contains a value.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from devserver.address import Address
from devserver.errors import ProtocolError
from devserver.store import deadlines, processes, tasks
from devserver.store.database import transaction

if TYPE_CHECKING:
    from collections.abc import Callable

    from devserver.connections import Connections
    from devserver.store.database import Database
    from devserver.store.tasks import Delivery

    type Transition[T] = Callable[[sqlite3.Connection, int], T]
    type Batch = list[_Waiting]


class _Waiting(NamedTuple):
    """A transition to run, the caller's future, and whether the caller waits for the disk."""

    transition: Transition[Any]
    future: asyncio.Future[Any]
    durable: bool


class _Committed(NamedTuple):
    """A batch, its outcomes, and the messages that wait for the disk like the answers."""

    batch: Batch
    outcomes: list[Any]
    held: list[Delivery]


logger = logging.getLogger(__name__)

# The engine checks the clock at least this often (seconds), because the clock may be set.
LONGEST_SLEEP = 60.0
# After a faulty transition, which may have been the clock's own, the engine checks again (ms).
RETRY_MS = 1_000
# A clock that differs from the time that really passes by this much was set (ms).
CLOCK_JUMP_MS = 1_000
# How long a written notification stays incomplete (seconds); see `Engine.notified`.
NOTIFICATION_DELAY = 1.0


class Engine:
    """Runs every transition of the store while the server runs.

    Args:
        db: the database.
        connections: the open message streams.
        failed: called if the database fails. The server must stop then.
    """

    def __init__(
        self,
        db: Database,
        connections: Connections,
        failed: Callable[[sqlite3.Error], None],
    ) -> None:
        self._db = db
        self._failed = failed
        self._connections = connections
        self._waiting: Batch = []
        # Until `_sync`, which the loop will call. There are several of them only if the transitions
        # of a batch ran one by one.
        self._unanswered: list[_Committed] = []
        self._failure: sqlite3.Error | None = None
        self._notified: list[str] = []
        self._timer: asyncio.TimerHandle | None = None
        # The difference between the clock and the time that really passes (ms).
        self._clock_offset = _clock_offset()

    async def run[T](self, transition: Transition[T], *, durable: bool = True) -> T:
        """Run one transition and wait until it is committed.

        Args:
            transition: called with the database and the time in ms since the epoch.
            durable: whether to wait until the commit is on disk. False is for a transition that
                only claims or completes tasks, or renews leases.

        Returns:
            What the transition returned.

        Raises:
            ProtocolError: the transition refused the request.
            sqlite3.Error: the database or the disk failed. The change may be there after a restart.
        """
        result: T = await self._enqueue(transition, durable=durable)
        return result

    def start(self) -> None:
        """Take over the tasks of an earlier run of the server, and start to watch the clock."""

        def recover(db: sqlite3.Connection, now: int) -> None:
            processes.server_started(db, now)
            tasks.recover(db, now)

        self._run_unattended(recover)

    def stop(self) -> None:
        """Stop watching the clock, and complete the notifications that were written."""
        if self._timer is not None:
            self._timer.cancel()
        if self._failure is not None:
            return
        now = time.time_ns() // 1_000_000
        with suppress(sqlite3.Error), transaction(self._db):
            tasks.complete_notified(self._db, self._notified, now)
            processes.server_stopped(self._db, now)

    def connected(self, process_id: str, group: str) -> None:
        """Send a process the messages that wait for it: it has opened a stream.

        Messages that were sent on an earlier stream and were not claimed are sent again.

        Args:
            process_id: the process.
            group: its poll group.
        """

        def welcome(db: sqlite3.Connection, now: int) -> None:
            tasks.take_back_of_process(db, process_id, now, also_claimed=False)
            processes.connected(db, process_id, group, now)

        self._run_unattended(welcome)
        self.has_room(process_id, group)

    def has_room(self, process_id: str, group: str) -> None:
        """Send a connection the messages that wait for it, because it is not full.

        Args:
            process_id: the process.
            group: its poll group.
        """
        self._wake(Address("uni", group, process_id))
        self._wake(Address("any", group))

    def notified(self, task_id: str) -> None:
        """Complete a notification, because it was written to its connection.

        A client does not acknowledge a notification. If the server is killed soon after the write,
        the notification may not arrive. So the engine completes it a moment later, and sends
        incomplete notifications again after a restart.
        """
        if not self._notified:
            loop = asyncio.get_running_loop()
            loop.call_later(NOTIFICATION_DELAY, self._complete_notified)
        self._notified.append(task_id)

    def disconnected(self, process_id: str, group: str, *, has_ended: bool) -> None:
        """Send the messages of a process to other processes: its stream has closed.

        Args:
            process_id: the process.
            group: its poll group.
            has_ended: whether the process must have ended. If so, the tasks that it has claimed
                go to other processes too, without waiting for the leases to expire.
        """

        def part(db: sqlite3.Connection, now: int) -> None:
            tasks.take_back_of_process(db, process_id, now, also_claimed=has_ended)
            processes.disconnected(db, process_id, group, now)

        self._complete_notified()
        self._run_unattended(part)
        self._wake(Address("any", group))

    def _wake(self, target: Address) -> None:
        """Send the messages that wait for an address, as many as its connections take."""

        def go_on(are_more: bool) -> None:
            if are_more and self._connections.chooser()(target, 0) is not None:
                self._wake(target)

        self._run_unattended(lambda db, _: tasks.wake_parked(db, target), go_on, durable=False)

    def _complete_notified(self) -> None:
        notified, self._notified = self._notified, []
        self._run_unattended(
            lambda db, now: tasks.complete_notified(db, notified, now), durable=False
        )

    def _run_unattended[T](
        self,
        transition: Transition[T],
        then: Callable[[T], None] = lambda _: None,
        *,
        durable: bool = True,
    ) -> None:
        """Run a transition that no caller waits for, and call `then` with what it returned."""

        def report(future: asyncio.Future[T]) -> None:
            error = future.exception()
            if error is None:
                then(future.result())
            elif not isinstance(error, sqlite3.Error):
                logger.error("A transition of devserver failed", exc_info=error)

        self._enqueue(transition, durable=durable).add_done_callback(report)

    def _enqueue(self, transition: Transition[Any], *, durable: bool) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._commit_waiting)
        future: asyncio.Future[Any] = loop.create_future()
        self._waiting.append(_Waiting(transition, future, durable))
        return future

    def _commit_waiting(self) -> None:
        batch, self._waiting = self._waiting, []
        if self._failure is None:
            self._commit(batch)
        else:
            _settle(batch, [self._failure] * len(batch))

    def _commit(self, batch: Batch) -> None:
        now = time.time_ns() // 1_000_000
        jump = _clock_offset() - self._clock_offset
        durable = any(waiting.durable for waiting in batch)
        try:
            changes = self._db.total_changes
            with transaction(self._db):
                if abs(jump) >= CLOCK_JUMP_MS:
                    tasks.move_leases(self._db, jump)
                outcomes = [self._outcome(waiting.transition, now) for waiting in batch]
                # A new counter must be on disk before a process claims it. The clock's own
                # transition is durable, so no lease stays expired for long.
                silent = tasks.take_back_expired(self._db, now) if durable else set()
                deliveries = tasks.send_ready(self._db, self._connections.chooser(silent), now)
                # A transition that is not durable adds no deadlines except leases, and each lease
                # lasts at least MIN_TTL_MS.
                due = deadlines.next_due(self._db, now) if durable else now + tasks.MIN_TTL_MS
            if durable:
                self._db.check_files()
        except sqlite3.Error as e:
            # The disk or the file failed, and not one request.
            _settle(batch, [e] * len(batch))
            self._fail(e)
        except Exception as e:  # noqa: BLE001 - one transition is faulty
            if len(batch) == 1:
                _settle(batch, [e])
                self._check_clock_by(now + RETRY_MS)
            else:
                # The transaction is undone. Run the transitions one by one, so that only the
                # faulty one fails.
                for one in batch:
                    self._commit([one])
        else:
            if abs(jump) >= CLOCK_JUMP_MS:
                self._clock_offset += jump
            for process_id in silent:
                self._connections.fell_silent(process_id)
            committed = _Committed(batch, outcomes, self._send(deliveries))
            must_sync = durable and self._db.total_changes != changes
            self._answer_when_on_disk(committed, must_sync=must_sync)
            self._check_clock_by(due)

    def _send(self, deliveries: list[Delivery]) -> list[Delivery]:
        """Send messages, or return those that must wait until everything so far is on disk.

        A notification must wait, because it contains a value. The messages after it wait too, so
        that each connection gets its messages in order.
        """
        has_value = any(delivery.message.type == "notify" for delivery in deliveries)
        if has_value or any(earlier.held for earlier in self._unanswered):
            return deliveries
        self._deliver(deliveries)
        return []

    def _answer_when_on_disk(self, committed: _Committed, *, must_sync: bool) -> None:
        """Answer the latest commit's requests as soon as that commit is on disk.

        Args:
            committed: the latest commit.
            must_sync: whether it must be on disk. Otherwise, only the commits before it must be.
        """
        if must_sync and not self._unanswered:
            # Before the loop calls it, the streams write the messages.
            asyncio.get_running_loop().call_soon(self._sync)
        if must_sync or self._unanswered:
            self._unanswered.append(committed)
        else:
            self._answer(committed)

    def _sync(self) -> None:
        """Wait for the disk, and answer everything that waits for it."""
        unanswered, self._unanswered = self._unanswered, []
        if self._failure is None:
            try:
                self._db.sync()
            except sqlite3.Error as e:
                self._fail(e)
        for committed in unanswered:
            self._answer(committed)

    def _answer(self, committed: _Committed) -> None:
        if self._failure is None:
            _settle(committed.batch, committed.outcomes)
            self._deliver(committed.held)
        else:
            _settle(committed.batch, [self._failure] * len(committed.batch))

    def _fail(self, error: sqlite3.Error) -> None:
        """Stop the server, and do not commit again; see `Database.sync`."""
        self._failure = error
        self._db.keep_log()
        self._failed(error)

    def _outcome(self, transition: Transition[Any], now: int) -> Any:
        try:
            return transition(self._db, now)
        except ProtocolError as e:
            return e  # an answer like any other: the changes before it are kept

    def _deliver(self, deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            self._connections.send(delivery)

    def _check_clock_by(self, due: int | None) -> None:
        """Check by a time (ms since the epoch) whether something is due.

        Most commits move deadlines to later times. A timer that ends too early costs less than one
        that each commit sets again.
        """
        sleep = LONGEST_SLEEP
        if due is not None:
            sleep = min(max(due / 1000 - time.time(), 0), LONGEST_SLEEP)
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            if self._timer.when() <= loop.time() + sleep:
                return
            self._timer.cancel()
        self._timer = loop.call_later(sleep, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._run_unattended(deadlines.expire)


def _clock_offset() -> int:
    return (time.time_ns() - time.monotonic_ns()) // 1_000_000


def _settle(batch: Batch, outcomes: list[Any]) -> None:
    """Hand each transition's outcome to the caller that waits for it."""
    for waiting, outcome in zip(batch, outcomes, strict=True):
        if waiting.future.cancelled():
            continue
        if isinstance(outcome, Exception):
            waiting.future.set_exception(outcome)
        else:
            waiting.future.set_result(outcome)
