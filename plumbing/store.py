"""The requests to the server, and what becomes of those that it refuses."""

from __future__ import annotations

import base64
import json
import time
from contextlib import suppress
from functools import cache
from http.client import responses
from inspect import signature
from ssl import SSLCertVerificationError
from threading import local
from typing import TYPE_CHECKING, Any, override
from urllib.parse import quote

from resonate.encoders import Base64Encoder
from resonate.errors import ResonateStoreError
from resonate.models.callback import Callback
from resonate.models.durable_promise import DurablePromise
from resonate.options import Options
from resonate.stores import RemoteStore
from resonate.stores.remote import RemotePromiseStore, RemoteTaskStore

from plumbing.connection import Connection, pauses
from plumbing.terminal import fail, say

if TYPE_CHECKING:
    from collections.abc import Mapping

    import requests
    from resonate.models.encoder import Encoder
    from resonate.models.result import Result
    from resonate.registry import Registry

LEASE = 10  # seconds for which a claimed task is a worker's own, unless it sends heartbeats
START_SERVER = "Start one with: uv run python -m devserver (or a legacy resonate serve)"


_signature = cache(signature)


class RefusedError(ResonateStoreError):
    """The server's answer to a request is no.

    Args:
        message: the server's words.
        code: the server's number for it, like 40306.
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message, code)
        self.number = code


class Store(RemoteStore):
    """The SDK's store, on connections that stay open: the SDK opens one for each request."""

    def __init__(self) -> None:
        super().__init__(encoder=_Encoder())
        self._promises = _Promises(self)
        self._tasks = self.own_tasks = _Tasks(self)
        self._kept = local()
        self.refusal = ""

    def problem(self) -> str | None:
        """Say why this server cannot be used: None where it can, a sentence where there is none.

        Raises:
            SystemExit: there is something else.
        """
        try:
            status, content = self._exchange("GET", "/promises?id=none&limit=1", {})
        except SSLCertVerificationError as e:
            fail(f"The certificate of {self.url} cannot be trusted: {e.verify_message}.")
        except (OSError, ValueError):
            return f"No Resonate server at {self.url}."
        if status == 401:
            fail(self.unauthorised)
        if status == 403:
            with suppress(ValueError, TypeError, LookupError):
                reason = json.loads(content)["error"]["details"][0]["message"]
                fail(f"The server at {self.url} refused the request. {reason}")
        with suppress(ValueError, TypeError):
            if status == 200 and "promises" in json.loads(content):
                return None
        newer = status == 410
        what = "a Resonate server from 0.9 on" if newer else "no Resonate server"
        return fail(
            f"What answers at {self.url} is {what} ({status} {responses.get(status, '')}).\n"
            f"SDK 0.6.x needs a legacy one. {START_SERVER}"
        )

    @property
    def unauthorised(self) -> str:
        """What to do about a server that asks for a password."""
        said = "refuses them" if self._auth else "needs them"
        return (
            "Set RESONATE_USERNAME and RESONATE_PASSWORD: "
            f"the Resonate server at {self.url} {said}."
        )

    @override
    def call(self, req: requests.PreparedRequest) -> Any:
        """Send a request as the SDK makes it; see `send`."""
        assert req.method is not None
        assert req.body is None or isinstance(req.body, bytes)
        headers = {name: str(value) for name, value in req.headers.items()}
        return self.send(req.method, req.path_url, headers, req.body or b"")

    def ask(self, method: str, path: str, content: object, **headers: str) -> Any:
        """Send a request with content, which takes half the time of making one for `call`."""
        return self.send(method, path, headers, json.dumps(content).encode())

    def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Any:
        """Send a request, again and again until it is answered.

        Args:
            method: like `POST`.
            path: what follows the port, quoted.
            headers: besides those that each request has.
            body: JSON, or nothing.

        Returns:
            The answer's content.

        Raises:
            RefusedError: the answer is no.
        """
        for pause in pauses():
            with suppress(OSError, ValueError):
                status, content = self._exchange(method, path, headers, body)
                answer: Any = json.loads(content) if content else None
                if status < 400:
                    return answer
                if status != 500:
                    break
            time.sleep(pause)
        if status == 401:  # the server has been given another password
            answer = {"error": {"message": self.unauthorised, "code": 40100}}
        self.refusal = answer["error"]["message"]
        raise RefusedError(self.refusal, answer["error"]["code"])

    def _exchange(self, *request: Any) -> tuple[int, bytes]:
        try:
            return self.connection.request(*request)
        except (OSError, ValueError):  # it had been idle, or the server was restarted
            return self.connection.request(*request)

    @property
    def connection(self) -> Connection:
        """The connection of the thread that asks."""
        if not hasattr(self._kept, "connection"):
            self._kept.connection = Connection(self.url, self._auth)
        connection: Connection = self._kept.connection
        return connection


class _Encoder(Base64Encoder):
    """The SDK's, but bytes that are no text do not end the program: they are found out later."""

    @override
    def decode(self, obj: str | None) -> str | None:
        return None if obj is None else base64.b64decode(obj).decode(errors="replace")


class _Promises(RemotePromiseStore):
    """Creates promises and callbacks; completes promises, or takes them as they are completed."""

    _store: Store

    @override
    def create(self, id: str, timeout: int, **options: Any) -> DurablePromise:
        content = {"id": id, "timeout": timeout, "tags": options.get("tags") or {}}
        answer = self._ask("POST", "/promises", content | {"param": self._value(options)}, options)
        return DurablePromise.from_dict(self._store, answer)

    @override
    def callback(
        self, promise_id: str, root_promise_id: str, recv: str, timeout: int
    ) -> tuple[DurablePromise, Callback | None]:
        content = {"rootPromiseId": root_promise_id, "timeout": timeout, "recv": recv}
        answer = self._store.ask("POST", f"/promises/callback/{quote(promise_id)}", content)
        callback = answer["callback"]
        return (
            DurablePromise.from_dict(self._store, answer["promise"]),
            Callback.from_dict(callback) if callback else None,
        )

    @override
    def resolve(self, id: str, **options: Any) -> DurablePromise:
        return self._settle(id, "RESOLVED", options)

    @override
    def reject(self, id: str, **options: Any) -> DurablePromise:
        return self._settle(id, "REJECTED", options)

    def _settle(self, promise: str, state: str, options: dict[str, Any]) -> DurablePromise:
        content = {"state": state, "value": self._value(options)}
        try:
            answer = self._ask("PATCH", f"/promises/{quote(promise)}", content, options)
        except RefusedError:  # somebody else has completed it
            return self.get(promise)
        return DurablePromise.from_dict(self._store, answer)

    def _ask(self, method: str, path: str, content: object, options: dict[str, Any]) -> Any:
        headers = self._headers(strict=options.get("strict", False), ikey=options.get("ikey"))
        return self._store.ask(method, path, content, **headers)

    def _value(self, options: dict[str, Any]) -> dict[str, Any]:
        value = {"headers": options.get("headers")}
        value["data"] = self._store.encoder.encode(options.get("data"))
        return {part: value[part] for part in value if value[part] is not None}


class _Leaf(DurablePromise):
    """A completed promise whose value is decoded once: it is looked at twice, and may be long."""

    @override
    def result(self, encoder: Encoder[Any, Any]) -> Result[Any]:
        if "_result" not in vars(self):
            self._result = super().result(encoder)
        return self._result


class _Tasks(RemoteTaskStore):
    """Claims tasks before the SDK does, which a refusal or a strange call would end."""

    registry: Registry
    _store: Store

    def take(self, task: str, counter: int, pid: str) -> bool:
        """Claim a task, and reject its promise where the call cannot be made.

        Args:
            task: the task's id.
            counter: the task's counter, from the message.
            pid: the claiming process.

        Returns:
            Whether the SDK may go on with it.
        """
        ttl = LEASE * 1000
        content = {"id": task, "counter": counter, "processId": pid, "ttl": ttl}
        try:
            promises = self._store.ask("POST", "/tasks/claim", content)["promises"]
        except RefusedError as e:
            # It went to somebody else. Or it is ours, and the first answer was lost on its way:
            # then our heartbeats would keep it from everybody.
            if e.number == 40306:
                with suppress(RefusedError):
                    self._drop(task, counter)
            return False
        root = DurablePromise.from_dict(self._store, promises["root"]["data"])
        leaf = (
            _Leaf.from_dict(self._store, promises["leaf"]["data"]) if "leaf" in promises else None
        )
        self._claimed = root, leaf
        if obstacle := self._obstacle(root, leaf):
            headers, data = Options().get_encoder().encode(ValueError(obstacle))
            self._store.promises.reject(root.id, ikey=root.id, headers=headers, data=data)
            say(f"Rejected {root.id}: {obstacle}")
        return not obstacle

    @override
    def claim(
        self, id: str, counter: int, pid: str, ttl: int
    ) -> tuple[DurablePromise, DurablePromise | None]:
        """Give the SDK what was claimed for it."""
        return self._claimed

    @override
    def complete(self, id: str, counter: int) -> bool:
        """Complete a task; one that somebody else has taken over is theirs to complete."""
        with suppress(RefusedError):
            self._store.ask("POST", "/tasks/complete", {"id": id, "counter": counter})
        return True

    def _drop(self, task: str, counter: int) -> None:
        self._store.ask("POST", "/tasks/drop", {"id": task, "counter": counter})

    def _obstacle(self, root: DurablePromise, leaf: DurablePromise | None) -> str | None:
        """Say why a call cannot be made, where that is so."""
        decoder = Options().get_encoder()
        call = None
        with suppress(ValueError):
            call = decoder.decode(root.param.to_tuple())
        if not isinstance(call, dict) or not {"func", "version"} <= call.keys():
            return "its parameter is no call of the SDK's"
        try:
            _, func, _ = self.registry.get(call["func"], call["version"])
            _signature(func).bind(None, *call.get("args", ()), **call.get("kwargs", {}))
            if leaf is not None:
                leaf.result(decoder)
        except (ValueError, TypeError) as e:
            return str(e)
        return None
