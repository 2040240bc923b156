"""Runs transitions of the store in transactions, and acts on the results after the commit.

All requests that are ready at the same moment share one commit. After the commit, the engine waits
for the disk if a promise, a callback, a subscription or a schedule has changed. Then it sends the
messages that the requests led to, and answers them. So a program is told only what is on disk,
except for the state of tasks: a power failure ends the processes that have claimed them, too.
"""

from __future__ import annotations

import asyncio
import logging
import shlex
import sqlite3
import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from devserver.store import deadlines, dispatch, processes
from devserver.store.database import transaction
from devserver.store.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

    from devserver.connections import Connections
    from devserver.store.database import Database
    from devserver.store.dispatch import Delivery, Suspect

    type Transition[T] = Callable[[sqlite3.Connection, int], T]
    type Batch = list[_Waiting]


class _Waiting(NamedTuple):
    """A transition to run, the caller's future, and whether the caller waits for the disk."""

    transition: Transition[Any]
    future: asyncio.Future[Any]
    durable: bool


logger = logging.getLogger(__name__)

# How often the engine looks at the clock (seconds), and the longest time between two looks (ms)
# while the server runs and the clock is not set.
LOOK = 0.5
LONGEST_LOOK_MS = 1_500
# How soon after a commit the engine checks when something is due (ms). To check in each commit
# would make a recursion 4 % slower.
CHECK_MS = 10
# After a faulty transition, which may have been the clock's own, the engine checks again (ms).
RETRY_MS = 1_000
# How long a written notification stays incomplete (seconds); see `Engine.notified`.
NOTIFICATION_DELAY = 1.0


class Engine:
    """Runs every transition of the store while the server runs.

    Args:
        db: the database.
        connections: the open message streams.
        url: the URL of the API, for advice in the log.
        failed: called if the database fails. The server must stop then.
    """

    def __init__(
        self,
        db: Database,
        connections: Connections,
        url: str,
        failed: Callable[[sqlite3.Error], None],
    ) -> None:
        self._db = db
        self._connections = connections
        self._url = url
        self._failed = failed
        self._failure: sqlite3.Error | None = None
        self._waiting: Batch = []
        self._notified: list[str] = []
        self._timer: asyncio.TimerHandle | None = None
        self._watching: asyncio.TimerHandle | None = None
        self._looked = _now()
        # How many messages each process of a group had not claimed when they were last counted. If
        # there are fewer now, parked tasks may be sent. While tasks are parked, each commit counts.
        self._unclaimed: Counter[tuple[str, str]] = Counter()
        # How far the clock has jumped since the leases were last moved (ms).
        self._jump = 0

    async def run[T](self, transition: Transition[T], *, durable: bool = True) -> T:
        """Run one transition and wait until it is committed.

        Args:
            transition: called with the database and the time in ms since the epoch.
            durable: whether to wait until the commit is on disk. False is for a transition that
                changes only tasks.

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
            dispatch.recover(db, now)

        self._run_unattended(recover)
        self._watch_clock()

    def stop(self) -> None:
        """Stop watching the clock, and complete the notifications that were written."""
        for timer in (self._timer, self._watching):
            if timer is not None:
                timer.cancel()
        if self._failure is not None:
            return
        with suppress(sqlite3.Error), transaction(self._db):
            dispatch.complete_notified(self._db, self._notified, _now())
            processes.server_stopped(self._db, _now())

    def connected(self, process_id: str, group: str) -> None:
        """Send a process the messages that wait for it: it has opened a stream.

        Args:
            process_id: the process.
            group: its poll group.
        """

        def welcome(db: sqlite3.Connection, now: int) -> None:
            processes.connected(db, process_id, group, now)
            dispatch.wake_notifications(db, group, process_id)

        self.spoke(process_id)
        self._unclaimed[group, process_id] = dispatch.MAX_UNCLAIMED
        self._run_unattended(welcome)

    def spoke(self, process_id: str) -> None:
        """Trust a process again if it was silent: it sent a request, so it does not hang."""
        for group in self._connections.spoke(process_id):
            self._unclaimed[group, process_id] = dispatch.MAX_UNCLAIMED

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

    def disconnected(self, process_id: str, group: str, *, is_last: bool, has_ended: bool) -> None:
        """Send the messages of a process to other processes: one of its streams has closed.

        Args:
            process_id: the process.
            group: its poll group.
            is_last: whether the process has no other stream. If it has one, the server cannot tell
                which messages came through which stream, and waits until they expire.
            has_ended: whether the process must have ended. If so, the tasks that it has claimed
                go to other processes too, without waiting for the leases to expire.
        """

        def part(db: sqlite3.Connection, now: int) -> list[Suspect]:
            processes.disconnected(db, process_id, group, now)
            dispatch.take_back_notifications(db, process_id)
            if not is_last:
                return []
            return dispatch.take_back_of_process(db, process_id, now, has_ended=has_ended)

        self._complete_notified()
        self._run_unattended(part, self._warn)

    def _warn(self, suspects: list[Suspect]) -> None:
        for promise_id, deaths, pause in suspects[:5]:
            logger.warning(
                # With the SDK's key, a worker that still runs the call is not refused, which would
                # stop it without a word.
                "%s has ended %d workers; next try in %d s. To give it up: curl -X PATCH "
                '%s/promises/%s -H %s -d \'{"state": "REJECTED_CANCELED"}\'',
                ascii(promise_id)[1:-1],
                deaths,
                pause // 1000,
                self._url,
                quote(promise_id, safe=""),
                shlex.quote(f"idempotency-key: {promise_id}"),
            )

    def _complete_notified(self) -> None:
        notified, self._notified = self._notified, []
        if notified:
            self._run_unattended(lambda db, now: dispatch.complete_notified(db, notified, now))

    def _run_unattended[T](
        self, transition: Transition[T], then: Callable[[T], None] = lambda _: None
    ) -> None:
        """Run a transition that no caller waits for, and call `then` with what it returned."""

        def report(future: asyncio.Future[T]) -> None:
            error = future.exception()
            if error is None:
                then(future.result())
            elif error is not self._failure:
                logger.error("A transition of devserver failed", exc_info=error)

        self._enqueue(transition, durable=False).add_done_callback(report)

    def _enqueue(self, transition: Transition[Any], *, durable: bool) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._run_waiting)
        future: asyncio.Future[Any] = loop.create_future()
        self._waiting.append(_Waiting(transition, future, durable))
        return future

    def _run_waiting(self) -> None:
        batch, self._waiting = self._waiting, []
        self._look()
        self._run_batch(batch)

    def _run_batch(self, batch: Batch) -> None:
        """Run transitions in one transaction, send the messages, and answer the callers."""
        if self._failure is not None:
            _settle(batch, [self._failure] * len(batch))
            return
        try:
            outcomes, deliveries = self._commit(batch)
        except Exception as e:  # noqa: BLE001 - one transition may be faulty
            if isinstance(e, sqlite3.Error) and not isinstance(e, sqlite3.DataError):
                self._fail(e)
            elif len(batch) > 1:
                # The transaction is undone, so run the transitions one by one.
                for one in batch:
                    self._run_batch([one])
                return
            _settle(batch, [e] * len(batch))
            self._set_timer(_now() + RETRY_MS)
        else:
            # Before the answers, because a worker waits for each message.
            for delivery in deliveries:
                self._connections.send(delivery)
            _settle(batch, outcomes)
            self._set_timer(_now() + CHECK_MS)

    def _commit(self, batch: Batch) -> tuple[list[Any], list[Delivery]]:
        """Commit transitions and what follows from them.

        Returns:
            The transitions' outcomes, and the messages to send.
        """
        now = _now()
        with transaction(self._db):
            if self._jump:
                dispatch.move_leases(self._db, self._jump)
            changes = self._db.total_changes
            outcomes = [self._outcome(waiting.transition, now) for waiting in batch]
            must_sync = self._db.total_changes != changes and any(one.durable for one in batch)
            silent: set[str] = set()
            deliveries: list[Delivery] = []
            if dispatch.is_any_ready(self._db, now):
                silent = dispatch.take_back_expired(self._db, now)
                deliveries = self._send_ready(silent, now)
        self._jump = 0
        if must_sync:
            self._db.check_files()
            self._db.sync()
        for process_id in silent:
            self._connections.fell_silent(process_id)
        return outcomes, deliveries

    def _send_ready(self, silent: set[str], now: int) -> list[Delivery]:
        """Decide about the tasks that are ready, and about parked ones that a process can take."""
        unclaimed = Counter(dispatch.unclaimed(self._db))
        for (group, process_id), before in self._unclaimed.items():
            if (room := before - unclaimed[group, process_id]) > 0:
                dispatch.wake(self._db, group, process_id, room)
        choose = self._connections.chooser(unclaimed, silent)
        deliveries = dispatch.send_ready(self._db, choose, now)
        claimed = (one for one in deliveries if one.message.type != "notify")
        self._unclaimed = unclaimed + Counter((one.group, one.process_id) for one in claimed)
        return deliveries

    def _outcome(self, transition: Transition[Any], now: int) -> Any:
        try:
            return transition(self._db, now)
        except ProtocolError as e:
            return e  # an answer like any other: the changes before it are kept

    def _fail(self, error: sqlite3.Error) -> None:
        """Stop the server, and do not commit again; see `Database.sync`."""
        self._failure = error
        self._db.keep_log()
        self._failed(error)

    def _watch_clock(self) -> None:
        self._look()
        self._watching = asyncio.get_running_loop().call_later(LOOK, self._watch_clock)

    def _look(self) -> None:
        """Notice that the server did not run for a while, or that the clock was set.

        Processes could not renew their leases while the server did not run.
        """
        now = _now()
        passed = now - self._looked
        self._looked = now
        if not 0 <= passed <= LONGEST_LOOK_MS:
            self._jump += passed
            self._run_unattended(deadlines.expire)

    def _set_timer(self, due: int | None) -> None:
        """Check by a time (ms since the epoch) whether something is due.

        A timer that ends too early costs less than one that each commit sets again.
        """
        if due is None or self._failure is not None:
            return
        loop = asyncio.get_running_loop()
        when = loop.time() + max(due - _now(), 0) / 1000
        if self._timer is not None:
            if self._timer.when() <= when:
                return
            self._timer.cancel()
        self._timer = loop.call_at(when, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self._failure is not None:
            return
        try:
            due = deadlines.next_due(self._db)
        except sqlite3.Error as e:
            self._fail(e)
            return
        if due is not None and due <= _now():
            self._run_unattended(deadlines.expire)
        else:
            self._set_timer(due)


def _now() -> int:
    return time.time_ns() // 1_000_000


def _settle(batch: Batch, outcomes: list[Any]) -> None:
    """Hand each transition's outcome to the caller that waits for it."""
    for waiting, outcome in zip(batch, outcomes, strict=True):
        if waiting.future.cancelled():
            continue
        if isinstance(outcome, Exception):
            waiting.future.set_exception(outcome)
        else:
            waiting.future.set_result(outcome)
