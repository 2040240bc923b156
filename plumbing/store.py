"""The requests to the server, and what becomes of those that it refuses."""

from __future__ import annotations

import base64
import json
import time
from contextlib import suppress
from functools import cache
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from inspect import signature
from threading import local
from typing import TYPE_CHECKING, Any, override
from urllib.parse import urlsplit

import requests
from resonate.encoders import Base64Encoder
from resonate.errors import ResonateStoreError
from resonate.options import Options
from resonate.stores import RemoteStore
from resonate.stores.remote import RemotePromiseStore, RemoteTaskStore

from plumbing.terminal import fail, say

if TYPE_CHECKING:
    from collections.abc import Callable

    from resonate.models.durable_promise import DurablePromise
    from resonate.registry import Registry

LEASE = 10  # seconds for which a claimed task is a worker's own, unless it sends heartbeats
TIMEOUT = 5  # seconds that the server may take for an answer
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
            answer = requests.get(
                f"{self.url}/promises?id=none&limit=1", auth=self._auth, timeout=TIMEOUT
            )
        except requests.RequestException:
            return f"No Resonate server at {self.url}."
        if answer.status_code == 401:
            said = "refuses them" if self._auth else "needs them"
            fail(
                "Set RESONATE_USERNAME and RESONATE_PASSWORD: "
                f"the Resonate server at {self.url} {said}."
            )
        with suppress(ValueError, TypeError):
            if answer.ok and "promises" in answer.json():
                return None
        newer = answer.status_code == 410
        what = "a Resonate server from 0.9 on" if newer else "no Resonate server"
        return fail(
            f"What answers at {self.url} is {what} ({answer.status_code} {answer.reason}).\n"
            f"SDK 0.6.x needs a legacy one. {START_SERVER}"
        )

    @override
    def call(self, req: requests.PreparedRequest) -> Any:
        """Send a request, again and again until it is answered."""
        req.prepare_auth(self._auth)
        while True:
            with suppress(OSError, HTTPException, ValueError):
                status, body = self._exchange(req)
                answer: Any = json.loads(body) if body else None
                if status < 400:
                    return answer
                if status != 500:
                    break
            time.sleep(1)
        error = answer["error"]
        self.refusal = error["message"]
        raise RefusedError(error["message"], error["code"])

    def _exchange(self, req: requests.PreparedRequest) -> tuple[int, bytes]:
        try:
            return _answer(self.connection, req)
        except (OSError, HTTPException):
            self.connection.close()  # it had been idle, or the server was restarted
            return _answer(self.connection, req)

    @property
    def connection(self) -> HTTPConnection:
        """The connection of the thread that asks, which is opened when it is used."""
        if not hasattr(self._kept, "connection"):
            url = urlsplit(self.url)
            assert url.hostname is not None
            kind = HTTPSConnection if url.scheme == "https" else HTTPConnection
            self._kept.connection = kind(url.hostname, url.port, timeout=TIMEOUT)
        connection: HTTPConnection = self._kept.connection
        return connection


def _answer(connection: HTTPConnection, req: requests.PreparedRequest) -> tuple[int, bytes]:
    assert req.method is not None
    assert req.body is None or isinstance(req.body, bytes)
    connection.request(req.method, req.path_url, req.body, dict(req.headers))
    answer = connection.getresponse()
    return answer.status, answer.read()


class _Encoder(Base64Encoder):
    """The SDK's, but bytes that are no text do not end the program: they are found out later."""

    @override
    def decode(self, obj: str | None) -> str | None:
        return None if obj is None else base64.b64decode(obj).decode(errors="replace")


class _Promises(RemotePromiseStore):
    """Completes promises, and takes those as they are that somebody else has completed."""

    @override
    def resolve(self, id: str, **options: Any) -> DurablePromise:
        return self._settle(super().resolve, id, options)

    @override
    def reject(self, id: str, **options: Any) -> DurablePromise:
        return self._settle(super().reject, id, options)

    def _settle(
        self, complete: Callable[..., DurablePromise], promise: str, options: dict[str, Any]
    ) -> DurablePromise:
        try:
            return complete(promise, **options)
        except RefusedError:
            return self.get(promise)


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
        try:
            self._claimed = super().claim(task, counter, pid, LEASE * 1000)
        except RefusedError as e:
            # It went to somebody else. Or it is ours, and the first answer was lost on its way:
            # then our heartbeats would keep it from everybody.
            if e.number == 40306:
                with suppress(RefusedError):
                    self._drop(task, counter)
            return False
        root, _ = self._claimed
        if obstacle := self._obstacle(*self._claimed):
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
            super().complete(id, counter)
        return True

    def _drop(self, task: str, counter: int) -> None:
        url = f"{self._store.url}/tasks/drop"
        request = requests.Request("POST", url, json={"id": task, "counter": counter})
        self._store.call(request.prepare())

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
