"""The SDK's store: no refusal and no odd promise ends the process.

The SDK exits the process, or silently stops working, if one of its requests is refused while it
runs a function. Here, such a refusal becomes a rejected promise, which fails only the call that
made the request.
"""

from __future__ import annotations

import base64
import json
import logging
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from inspect import signature
from typing import TYPE_CHECKING, Any, Final, Unpack, override

from resonate.encoders import Base64Encoder
from resonate.stores import RemoteStore

from plumbing.connection import RefusedError
from plumbing.protocol import Options, Promises, Tasks
from plumbing.values import read_call

if TYPE_CHECKING:
    from resonate.models.callback import Callback
    from resonate.models.durable_promise import DurablePromise
    from resonate.models.task import Task
    from resonate.registry import Registry

    from plumbing.connection import Server

logger = logging.getLogger("plumbing")

PROMISE_EXISTS: Final = 40900
PROMISE_COMPLETED: Final = range(40301, 40305)
TASK_CLAIMED: Final = 40306

_signature = cache(signature)


class Store:
    """The SDK's `Store`.

    Args:
        server: the server's API.
        registry: the functions that this process can run.
    """

    def __init__(self, server: Server, registry: Registry) -> None:
        self.server = server
        self.registry = registry
        self.encoder = _Encoder()
        self.tasks = SturdyTasks(self)
        self.promises = SturdyPromises(self)
        # The SDK's own schedules will do, because its threads do not use them.
        host, _, port = server.address.url.rpartition(":")
        self.schedules = RemoteStore(host=host, port=port, auth=server.address.auth).schedules


class _Encoder(Base64Encoder):
    """Bytes that are not UTF-8 become U+FFFD; such a value is refused when it is read."""

    @override
    def decode(self, obj: str | None) -> str | None:
        return None if obj is None else base64.b64decode(obj).decode(errors="replace")


class SturdyPromises(Promises):
    """Turns refusals into rejected promises, and remembers what is waited for."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        # The promises that this process waits for, and when it last looked at each.
        self.awaited: dict[str, float] = {}

    @override
    def create(self, id: str, timeout: int, **options: Unpack[Options]) -> DurablePromise:
        try:
            return super().create(id, timeout, **options)
        except RefusedError as e:
            return self._instead(id, options, e)

    @override
    def create_with_task(
        self, id: str, timeout: int, pid: str, ttl: int, **options: Unpack[Options]
    ) -> tuple[DurablePromise, Task | None]:
        try:
            promise, task = super().create_with_task(id, timeout, pid, ttl, **options)
        except RefusedError as e:
            return self._instead(id, options, e), None
        if task is not None:
            self._store.tasks.started(task.id, promise)
        return promise, task

    @override
    def callback(
        self, promise_id: str, root_promise_id: str, recv: str, timeout: int
    ) -> tuple[DurablePromise, Callback | None]:
        if self._store.tasks.is_stale(root_promise_id):
            return self._read(rejection(promise_id, "") | {"state": "PENDING"}), None
        try:
            return super().callback(promise_id, root_promise_id, recv, timeout)
        except RefusedError as e:
            return self._rejected(promise_id, f"cannot wait for it: {e}"), None

    @override
    def subscribe(
        self, id: str, promise_id: str, recv: str, timeout: int
    ) -> tuple[DurablePromise, Callback | None]:
        self.awaited[promise_id] = time.monotonic()
        try:
            return super().subscribe(id, promise_id, recv, timeout)
        except RefusedError as e:
            return self._rejected(promise_id, f"cannot wait for it: {e}"), None

    @override
    def _complete(self, promise: str, state: str, options: Options) -> DurablePromise:
        completed = None
        reason = ""
        try:
            completed = super()._complete(promise, state, options)
        except RefusedError as e:
            reason = f"the server refused its result: {e}"
            with suppress(RefusedError):
                if e.number in PROMISE_COMPLETED:  # by another worker, or by hand
                    completed = self.get(promise)
                else:
                    logger.warning("Rejected %s: %s", promise, reason)
                    instead: Options = {"ikey": promise, "data": error(reason)}
                    completed = super()._complete(promise, "REJECTED", instead)
        self._store.tasks.finished(promise, on_server=completed is not None)
        return completed or self._rejected(promise, reason)

    def _instead(self, promise: str, options: Options, refusal: RefusedError) -> DurablePromise:
        """Find what to use after the server has refused to create a promise."""
        reason = f"the server refused to create it: {refusal}"
        if refusal.number == PROMISE_EXISTS:
            with suppress(RefusedError):
                there = self.get(promise)
                if there.completed or _is_same_call(there, options):
                    return there
                reason = "another promise with this id exists, and it is for a different call"
        return self._rejected(promise, reason)

    def _rejected(self, promise: str, reason: str) -> DurablePromise:
        """Make a rejected promise that only this process knows."""
        return self._read(rejection(promise, f"{promise}: {reason}"))


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


class SturdyTasks(Tasks):
    """Claims a task before the SDK does, and keeps the SDK's record of computations fresh.

    The SDK remembers each computation by the id of its promise. If the server's data are deleted,
    a new promise may get that id. The SDK would take it for the old one: it would complete the
    task, and never the promise. So a finished computation is forgotten here, and an unfinished one
    if the server has a newer promise.
    """

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.computations: dict[str, Any] = {}  # the SDK's record, by the id of the promise
        self._runs: dict[str, _Run] = {}  # what is known of each of them
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
        try:
            root, leaf = super().claim(task, counter, pid, ttl)
        except RefusedError as e:
            # Another worker has it. Or this process has it, and the answer to its first request
            # was lost; then its heartbeats would keep the task from all others.
            if e.number == TASK_CLAIMED:
                with suppress(RefusedError):
                    self.drop(task, counter)
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
        run = self._runs.get(root)
        with suppress(RefusedError):  # another worker has taken the task over
            if run and run.is_stale:
                self.drop(id, counter)
            # A server that completes a promise also completes its tasks, in the same transaction.
            elif not (run and run.is_completed):
                super().complete(id, counter)
        # The SDK calls this between two steps of the computation, so it can be removed now.
        if run and (run.is_stale or run.has_finished):
            self.computations.pop(root, None)
            del self._runs[root]
        return True

    @override
    def heartbeat(self, pid: str) -> int:
        with suppress(RefusedError):
            return super().heartbeat(pid)
        return 1  # keep sending


def error(message: str) -> str:
    """Write an exception as the SDK's JSON does."""
    return json.dumps({"__error__": message})


def rejection(promise: str, message: str) -> dict[str, Any]:
    """Write a rejected promise as the server does."""
    value = {"data": Base64Encoder().encode(error(message))}
    return {"id": promise, "state": "REJECTED", "timeout": 0, "createdOn": 0, "value": value}


def _is_same_call(promise: DurablePromise, options: Options) -> bool:
    """Whether a promise runs the same function in the same group.

    The SDK does not compare the arguments either: the id names what is computed.
    """
    tags = options.get("tags") or {}
    try:
        same = _function(promise.param.data) == _function(options.get("data"))
    except (ValueError, RecursionError):
        return False
    return same and promise.tags.get("resonate:invoke") == tags.get("resonate:invoke")


def _function(data: str | None) -> Any:
    call = json.loads(data or "null")
    return call.get("func") if isinstance(call, dict) else call


def _check_call(registry: Registry, call: Any) -> None:
    match call:
        case {"func": str(name), "version": int(version)}:
            _, function, _ = registry.get(name, version)
            _signature(function).bind(None, *call.get("args", ()), **call.get("kwargs", {}))
        case _:
            raise ValueError("this promise was not created by a Resonate SDK")
