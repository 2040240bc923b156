"""The SDK's requests about tasks, and its record of the computations that they run."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from inspect import signature
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, override

from resonate.models.store import TaskStore

from plumbing.connection import RefusedError
from plumbing.promises import error
from plumbing.values import Promise, read_call

if TYPE_CHECKING:
    from collections.abc import Callable

    from resonate.models.durable_promise import DurablePromise
    from resonate.registry import Registry

    from plumbing.store import Store

logger = logging.getLogger("plumbing")

TASK_CLAIMED: Final = 40306

_signature = cache(signature)


@dataclass
class _Run:
    """A computation in the SDK's record.

    Args:
        created_on: when its promise was created, by the server's clock.
        has_finished: whether its function has ended.
        is_completed: whether the server has completed its promise.
        is_stale: whether the server has a newer promise with the same id.
    """

    created_on: int
    has_finished: bool = False
    is_completed: bool = False
    is_stale: bool = False


class Tasks(TaskStore):
    """The SDK's `TaskStore`. The SDK exits the process if one of these requests is refused.

    So `take` claims each task before the SDK does. It also keeps the SDK's record of computations
    fresh. That record has each computation under the id of its promise. If the server's data is
    deleted, a new promise may get that id. The SDK would take it for the old one, complete its
    task, and never complete the promise. So a finished computation is removed here, and an
    unfinished one if the server has a newer promise.

    Args:
        store: the store that this is a part of.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._call = store.server.call
        self.computations: dict[str, Any] = {}  # the SDK's record, by the id of the promise
        self._runs: dict[str, _Run] = {}  # their states
        self._roots: dict[str, str] = {}  # the promise of each task
        self._claimed: dict[tuple[str, int], tuple[DurablePromise, DurablePromise | None]] = {}

    def take(self, task: str, counter: int, pid: str, ttl: int) -> bool:
        """Claim a task, and reject its promise if the call cannot be made.

        Args:
            task: the task's id.
            counter: the task's counter, from the message.
            pid: the id of this process.
            ttl: the lease, in milliseconds.

        Returns:
            Whether the SDK can run it.
        """

        def read(answer: Any) -> tuple[DurablePromise, DurablePromise | None]:
            root, leaf = (answer["promises"].get(name) for name in ("root", "leaf"))
            promise = Promise.from_dict(self._store, root["data"])
            return promise, Promise.from_dict(self._store, leaf["data"]) if leaf else None

        content = {"id": task, "counter": counter, "processId": pid, "ttl": ttl}
        try:
            root, leaf = self._call(read, "POST", "/tasks/claim", content)
        except RefusedError as e:
            # Another worker has it. Or this process has it, and the answer to its first request
            # was lost; then its heartbeats would keep the task from all others.
            if e.number == TASK_CLAIMED:
                with suppress(RefusedError):
                    self._end("drop", task, counter)
            return False
        try:
            root, call = read_call(root)
            _check_call(self._store.registry, call)
        except Exception as e:  # noqa: BLE001 - a promise can contain anything
            logger.warning("Rejected %s: %s", root.id, e)
            self._store.promises.reject(root.id, ikey=root.id, data=error(str(e)))
            return False
        self.started(task, root)
        self._claimed[task, counter] = root, leaf
        return True

    def started(self, task: str, root: DurablePromise) -> None:
        """Note that the SDK runs the function of a promise for a task."""
        self._roots[task] = root.id
        run = self._runs.setdefault(root.id, _Run(root.created_on))
        if run.created_on != root.created_on:
            logger.warning("The server has lost its data. Starting %s from the top.", root.id)
            run.created_on, run.is_stale = root.created_on, True

    def finished(self, promise: str, *, on_server: bool) -> None:
        """Note that a function has ended.

        Args:
            promise: the function's promise.
            on_server: whether the server has completed it.
        """
        if run := self._runs.get(promise):
            run.has_finished, run.is_completed = True, on_server

    def is_stale(self, promise: str) -> bool:
        """Whether the SDK's computation belongs to an older promise with this id."""
        run = self._runs.get(promise)
        return run is not None and run.is_stale

    @override
    def claim(
        self, id: str, counter: int, pid: str, ttl: int
    ) -> tuple[DurablePromise, DurablePromise | None]:
        return self._claimed.pop((id, counter))

    @override
    def complete(self, id: str, counter: int) -> bool:
        root = self._roots.pop(id, "")
        run = self._runs.get(root, _Run(0))
        with suppress(RefusedError):  # another worker has taken the task over
            if run.is_stale:
                self._end("drop", id, counter)  # the server sends it again, with a higher counter
            # A server that completes a promise also completes its tasks, in the same transaction.
            elif not run.is_completed:
                self._end("complete", id, counter)
        # The SDK calls this between two steps of the computation, so it can be removed now.
        if run.is_stale or run.has_finished:
            self.computations.pop(root, None)
            del self._runs[root]
        return True

    @override
    def heartbeat(self, pid: str) -> int:
        read: Callable[[Any], int] = itemgetter("tasksAffected")
        with suppress(RefusedError):
            return self._call(read, "POST", "/tasks/heartbeat", {"processId": pid})
        return 1  # keep sending

    def _end(self, verb: str, task: str, counter: int) -> None:
        self._call(bool, "POST", f"/tasks/{verb}", {"id": task, "counter": counter})


def _check_call(registry: Registry, call: Any) -> None:
    match call:
        case {"func": str(name), "version": int(version)}:
            _, function, _ = registry.get(name, version)
            _signature(function).bind(None, *call.get("args", ()), **call.get("kwargs", {}))
        case _:
            raise ValueError("this promise was not created by a Resonate SDK")
