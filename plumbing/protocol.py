"""The protocol's requests about promises and tasks. A refused request raises `RefusedError`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict, Unpack, override
from urllib.parse import quote

from resonate.models.callback import Callback
from resonate.models.store import PromiseStore, TaskStore
from resonate.models.task import Task

from plumbing.values import HEADER, Promise

if TYPE_CHECKING:
    from resonate.models.durable_promise import DurablePromise

    from plumbing.store import Store


class Completion(TypedDict, total=False):
    """The options of a request that completes a promise."""

    ikey: str | None
    strict: bool
    headers: dict[str, str] | None
    data: str | None


class Creation(Completion, total=False):
    """The options of a request that creates a promise."""

    tags: dict[str, str] | None


class Promises(PromiseStore):
    """The SDK's `PromiseStore`.

    Args:
        store: the store that this is a part of.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._call = store.server.call

    @override
    def get(self, id: str) -> DurablePromise:
        return self._call(self._promise, "GET", f"/promises/{quote(id)}")

    @override
    def create(self, id: str, timeout: int, **options: Unpack[Creation]) -> DurablePromise:
        content = self._new(id, timeout, options)
        return self._call(self._promise, "POST", "/promises", content, **_headers(options))

    @override
    def create_with_task(
        self, id: str, timeout: int, pid: str, ttl: int, **options: Unpack[Creation]
    ) -> tuple[DurablePromise, Task | None]:
        def read(answer: Any) -> tuple[DurablePromise, Task | None]:
            task = answer.get("task")
            promise = self._promise(answer["promise"])
            return promise, Task.from_dict(self._store, task) if task else None

        task = {"processId": pid, "ttl": ttl}
        content = {"promise": self._new(id, timeout, options), "task": task}
        return self._call(read, "POST", "/promises/task", content, **_headers(options))

    @override
    def resolve(self, id: str, **options: Unpack[Completion]) -> DurablePromise:
        return self._complete(id, "RESOLVED", options)

    @override
    def reject(self, id: str, **options: Unpack[Completion]) -> DurablePromise:
        return self._complete(id, "REJECTED", options)

    @override
    def cancel(self, id: str, **options: Unpack[Completion]) -> DurablePromise:
        return self._complete(id, "REJECTED_CANCELED", options)

    @override
    def callback(
        self, promise_id: str, root_promise_id: str, recv: str, timeout: int
    ) -> tuple[DurablePromise, Callback | None]:
        content = {"rootPromiseId": root_promise_id, "timeout": timeout, "recv": recv}
        path = f"/promises/callback/{quote(promise_id)}"
        return self._call(self._with_callback, "POST", path, content)

    @override
    def subscribe(
        self, id: str, promise_id: str, recv: str, timeout: int
    ) -> tuple[DurablePromise, Callback | None]:
        content = {"id": id, "timeout": timeout, "recv": recv}
        path = f"/promises/subscribe/{quote(promise_id)}"
        return self._call(self._with_callback, "POST", path, content)

    def _complete(self, promise: str, state: str, options: Completion) -> DurablePromise:
        content = {"state": state, "value": self._value(options)}
        path = f"/promises/{quote(promise)}"
        return self._call(self._promise, "PATCH", path, content, **_headers(options))

    def _promise(self, answer: Any) -> DurablePromise:
        return Promise.from_dict(self._store, answer)

    def _with_callback(self, answer: Any) -> tuple[DurablePromise, Callback | None]:
        callback = answer.get("callback")
        promise = self._promise(answer["promise"])
        return promise, Callback.from_dict(callback) if callback else None

    def _new(self, promise: str, timeout: int, options: Creation) -> dict[str, Any]:
        param = self._value(options)
        return {
            "id": promise,
            "timeout": timeout,
            "param": param,
            "tags": options.get("tags") or {},
        }

    def _value(self, options: Completion | Creation) -> dict[str, Any]:
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
        content = {"id": id, "counter": counter}
        return self._call(lambda _: True, "POST", "/tasks/complete", content)

    @override
    def heartbeat(self, pid: str) -> int:
        def read(answer: Any) -> int:
            return int(answer["tasksAffected"])

        return self._call(read, "POST", "/tasks/heartbeat", {"processId": pid})

    def drop(self, task: str, counter: int) -> None:
        """Give a task back; the server sends it again with a higher counter."""
        self._call(lambda _: None, "POST", "/tasks/drop", {"id": task, "counter": counter})


def _headers(options: Completion | Creation) -> dict[str, str | None]:
    strict = "true" if options.get("strict") else None
    return {"idempotency_key": options.get("ikey"), "strict": strict}
