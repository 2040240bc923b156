"""The protocol's requests about promises and tasks. A refused request raises `RefusedError`."""

from __future__ import annotations

from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, override
from urllib.parse import quote

from resonate.models.callback import Callback
from resonate.models.store import PromiseStore, TaskStore
from resonate.models.task import Task

from plumbing.values import HEADER, Promise

if TYPE_CHECKING:
    from collections.abc import Callable

    from resonate.models.durable_promise import DurablePromise

    from plumbing.store import Store


class Options(TypedDict, total=False):
    """The options of a request that creates or completes a promise."""

    ikey: str | None
    strict: bool
    headers: dict[str, str] | None
    data: str | None
    tags: dict[str, str] | None


class Promises(PromiseStore):
    """The SDK's `PromiseStore`.

    Args:
        store: the store that this is a part of.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._call = store.server.call
        self._read = partial(Promise.from_dict, store)

    @override
    def get(self, id: str) -> DurablePromise:
        return self._call(self._read, "GET", f"/promises/{quote(id)}")

    @override
    def create(self, id: str, timeout: int, **options: Unpack[Options]) -> DurablePromise:
        content = self._new(id, timeout, options)
        return self._call(self._read, "POST", "/promises", content, _headers(options))

    @override
    def create_with_task(
        self, id: str, timeout: int, pid: str, ttl: int, **options: Unpack[Options]
    ) -> tuple[DurablePromise, Task | None]:
        read = self._with("task", partial(Task.from_dict, self._store))
        task = {"processId": pid, "ttl": ttl}
        content = {"promise": self._new(id, timeout, options), "task": task}
        return self._call(read, "POST", "/promises/task", content, _headers(options))

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
        content = {"rootPromiseId": root_promise_id, "timeout": timeout, "recv": recv}
        path = f"/promises/callback/{quote(promise_id)}"
        return self._call(self._with("callback", Callback.from_dict), "POST", path, content)

    @override
    def subscribe(
        self, id: str, promise_id: str, recv: str, timeout: int
    ) -> tuple[DurablePromise, Callback | None]:
        content = {"id": id, "timeout": timeout, "recv": recv}
        path = f"/promises/subscribe/{quote(promise_id)}"
        return self._call(self._with("callback", Callback.from_dict), "POST", path, content)

    def _complete(self, promise: str, state: str, options: Options) -> DurablePromise:
        content = {"state": state, "value": self._value(options)}
        path = f"/promises/{quote(promise)}"
        return self._call(self._read, "PATCH", path, content, _headers(options))

    def _with[T](
        self, name: str, read: Callable[[Any], T]
    ) -> Callable[[Any], tuple[DurablePromise, T | None]]:
        """Read a promise, and what the answer has besides it."""

        def read_both(answer: Any) -> tuple[DurablePromise, T | None]:
            other = answer.get(name)
            return self._read(answer["promise"]), read(other) if other else None

        return read_both

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


class Tasks(TaskStore):
    """The SDK's `TaskStore`.

    Args:
        store: the store that this is a part of.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._call = store.server.call

    @override
    def claim(
        self, id: str, counter: int, pid: str, ttl: int
    ) -> tuple[DurablePromise, DurablePromise | None]:
        def read(answer: Any) -> tuple[DurablePromise, DurablePromise | None]:
            root, leaf = (answer["promises"].get(name) for name in ("root", "leaf"))
            promise = Promise.from_dict(self._store, root["data"])
            return promise, Promise.from_dict(self._store, leaf["data"]) if leaf else None

        content = {"id": id, "counter": counter, "processId": pid, "ttl": ttl}
        return self._call(read, "POST", "/tasks/claim", content)

    @override
    def complete(self, id: str, counter: int) -> bool:
        self._call(bool, "POST", "/tasks/complete", {"id": id, "counter": counter})
        return True

    @override
    def heartbeat(self, pid: str) -> int:
        read: Callable[[Any], int] = itemgetter("tasksAffected")
        return self._call(read, "POST", "/tasks/heartbeat", {"processId": pid})

    def drop(self, task: str, counter: int) -> None:
        """Give a task back; the server sends it again with a higher counter."""
        self._call(bool, "POST", "/tasks/drop", {"id": task, "counter": counter})


def _headers(options: Options) -> dict[str, str | None]:
    strict = "true" if options.get("strict") else None
    return {"idempotency-key": options.get("ikey"), "strict": strict}
