"""The SDK's requests about promises."""

from __future__ import annotations

import json
import logging
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypedDict, Unpack, override
from urllib.parse import quote

from resonate.encoders import Base64Encoder
from resonate.models.callback import Callback
from resonate.models.store import PromiseStore
from resonate.models.task import Task

from plumbing.connection import RefusedError
from plumbing.values import HEADER, Promise

if TYPE_CHECKING:
    from collections.abc import Callable

    from resonate.models.durable_promise import DurablePromise

    from plumbing.store import Store

logger = logging.getLogger("plumbing")

PROMISE_EXISTS: Final = 40900
PROMISE_COMPLETED: Final = range(40301, 40305)


class Options(TypedDict, total=False):
    """The options of a request that creates or completes a promise."""

    ikey: str | None
    strict: bool
    headers: dict[str, str] | None
    data: str | None
    tags: dict[str, str] | None


class Promises(PromiseStore):
    """The SDK's `PromiseStore`.

    If a request is refused while the SDK runs a function, the SDK exits the process, or silently
    stops working. So it gets a rejected promise here, which fails only the call that made the
    request.

    Args:
        store: the store that this is a part of.
        raises: whether a refused request raises `RefusedError`, which a program can handle.
    """

    def __init__(self, store: Store, *, raises: bool = False) -> None:
        self._store = store
        self._raises = raises
        self._read = partial(Promise.from_dict, store)
        # The promises that this process waits for, and when it last looked at each.
        self.awaited: dict[str, float] = {}

    @override
    def get(self, id: str) -> DurablePromise:
        return self._store.server.call(self._read, "GET", f"/promises/{quote(id)}")

    @override
    def create(self, id: str, timeout: int, **options: Unpack[Options]) -> DurablePromise:
        content = self._new(id, timeout, options)
        promise, _ = self._post("/promises", content, options, partial(self._instead, id, options))
        return promise

    @override
    def create_with_task(
        self, id: str, timeout: int, pid: str, ttl: int, **options: Unpack[Options]
    ) -> tuple[DurablePromise, Task | None]:
        claimer = {"processId": pid, "ttl": ttl}
        content = {"promise": self._new(id, timeout, options), "task": claimer}
        instead = partial(self._instead, id, options)
        promise, task = self._post("/promises/task", content, options, instead)
        if task is None:
            return promise, None
        self._store.tasks.started(task["id"], promise)
        return promise, Task.from_dict(self._store, task)

    @override
    def resolve(self, id: str, **options: Unpack[Options]) -> DurablePromise:
        return self._complete(id, "RESOLVED", options)

    @override
    def reject(self, id: str, **options: Unpack[Options]) -> DurablePromise:
        return self._complete(id, "REJECTED", options)

    @override
    def cancel(self, id: str, **options: Unpack[Options]) -> DurablePromise:
        return self._complete(id, "REJECTED_CANCELED", options)

    @override
    def callback(
        self, promise_id: str, root_promise_id: str, recv: str, timeout: int
    ) -> tuple[DurablePromise, Callback | None]:
        if self._store.tasks.is_stale(root_promise_id):
            return self._read(rejection(promise_id, "") | {"state": "PENDING"}), None
        content = {"rootPromiseId": root_promise_id, "timeout": timeout, "recv": recv}
        return self._await("callback", promise_id, content)

    @override
    def subscribe(
        self, id: str, promise_id: str, recv: str, timeout: int
    ) -> tuple[DurablePromise, Callback | None]:
        self.awaited[promise_id] = time.monotonic()
        return self._await("subscribe", promise_id, {"id": id, "timeout": timeout, "recv": recv})

    def _post(
        self,
        path: str,
        content: object,
        options: Options,
        instead: Callable[[RefusedError], DurablePromise],
    ) -> tuple[DurablePromise, Any]:
        """Send a request. Return the promise of the answer, and its task or callback."""

        def read(answer: Any) -> tuple[DurablePromise, Any]:
            promise = self._read(answer.get("promise", answer))
            return promise, answer.get("task") or answer.get("callback")

        try:
            return self._store.server.call(read, "POST", path, content, _headers(options))
        except RefusedError as e:
            if self._raises:
                raise
            return instead(e), None

    def _await(
        self, verb: str, promise_id: str, content: dict[str, Any]
    ) -> tuple[DurablePromise, Callback | None]:
        def instead(refusal: RefusedError) -> DurablePromise:
            return self._rejected(promise_id, f"cannot wait for it: {refusal}")

        path = f"/promises/{verb}/{quote(promise_id)}"
        promise, callback = self._post(path, content, {}, instead)
        return promise, Callback.from_dict(callback) if callback else None

    def _complete(self, promise: str, state: str, options: Options) -> DurablePromise:
        def send(state: str, options: Options) -> DurablePromise:
            content = {"state": state, "value": self._value(options)}
            path = f"/promises/{quote(promise)}"
            return self._store.server.call(self._read, "PATCH", path, content, _headers(options))

        if self._raises:
            return send(state, options)
        completed = None
        reason = ""
        try:
            completed = send(state, options)
        except RefusedError as e:
            reason = f"the server refused its result: {e}"
            with suppress(RefusedError):
                if e.number in PROMISE_COMPLETED:  # by another worker, or by hand
                    completed = self.get(promise)
                else:
                    logger.warning("Rejected %s: %s", promise, reason)
                    completed = send("REJECTED", {"ikey": promise, "data": error(reason)})
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

    def _new(self, promise: str, timeout: int, options: Options) -> dict[str, Any]:
        param, tags = self._value(options), options.get("tags") or {}
        return {"id": promise, "timeout": timeout, "param": param, "tags": tags}

    def _value(self, options: Options) -> dict[str, Any]:
        headers, data = options.get("headers"), options.get("data")
        if headers and headers.get(HEADER) == data and "__error__" not in (data or ""):
            # The SDK would read the same value from the JSON alone.
            headers = {name: text for name, text in headers.items() if name != HEADER} or None
        value = {"headers": headers, "data": self._store.encoder.encode(data)}
        return {name: part for name, part in value.items() if part is not None}


def _headers(options: Options) -> dict[str, str | None]:
    strict = "true" if options.get("strict") else None
    return {"idempotency-key": options.get("ikey"), "strict": strict}


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
