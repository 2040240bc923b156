"""A faster and safer connection from the Resonate SDK 0.6 to its server."""
# ruff: noqa: A002 - the SDK's methods have arguments that are called id

import builtins
import json
import logging
import os
import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from inspect import signature
from socket import SHUT_RDWR
from threading import Event, local
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from requests import PreparedRequest, Request
from resonate import Resonate
from resonate.message_sources import Poller
from resonate.models.durable_promise import DurablePromise
from resonate.models.message import Mesg
from resonate.models.result import Ko, Result
from resonate.retry_policies import Constant
from resonate.stores.remote import RemotePromiseStore, RemoteStore, RemoteTaskStore

JSON = {"Content-Type": "application/json"}
SUBSCRIBE = "/promises/subscribe/"


def _like[**P, T](_: Callable[P, T]) -> Callable[[Callable[..., T]], Callable[P, T]]:
    return lambda function: function


@_like(Resonate.remote)
def remote(*args: Any, **kwargs: Any) -> Resonate:
    """Return a client of a Resonate server. The arguments are those of `Resonate.remote`."""
    given = signature(Resonate.remote).bind(*args, **kwargs)
    given.apply_defaults()
    options = given.arguments
    options["pid"] = options["pid"] or os.urandom(16).hex()
    host, port = options.pop("host"), options.pop("message_source_port")
    messages = _Messages(options["group"], options["pid"], host, port)
    messages.store = _Store(host, options.pop("store_port"), options.pop("auth"))
    return Resonate(store=messages.store, message_source=messages, **options)


def _connection(url: str) -> HTTPConnection:
    kind = HTTPSConnection if url.startswith("https:") else HTTPConnection
    return kind(urlsplit(url).netloc, timeout=5)


class _Store(RemoteStore):
    """Sends the requests of each thread over a connection of its own."""

    def __init__(self, host: str | None, port: str | None, auth: tuple[str, str] | None) -> None:
        super().__init__(host, port, auth, retry_policy=Constant(0.5))
        auth = auth or (os.getenv("RESONATE_USERNAME", ""), os.getenv("RESONATE_PASSWORD", ""))
        basic = b64encode(":".join(auth).encode("latin-1")).decode()
        self.auth = {"Authorization": f"Basic {basic}"} if auth[0] else {}
        self.awaited: dict[str, PreparedRequest] = {}  # the subscriptions to pending promises
        self.kept = local()

    @property
    def promises(self) -> "_Requests":
        return _Requests(self)

    tasks = promises

    def call(self, req: PreparedRequest) -> Any:
        """Send a request that the SDK has prepared."""
        awaited = req.path_url.removeprefix(SUBSCRIBE)
        if awaited != req.path_url:
            self.awaited[unquote(awaited)] = req
        answer = self.send(req.method, req.path_url, req.body, req.headers)
        if awaited != req.path_url and answer["promise"]["state"] != "PENDING":
            self.awaited.pop(unquote(awaited), None)
        return answer

    def send(self, method: str | None, path: str, body: Any, headers: Mapping[Any, Any]) -> Any:
        """Send a request over the kept connection if it may be repeated, or as the SDK does."""
        # If the server gets one of these requests twice, the second one changes nothing.
        safe = ("/tasks/", "/promises/callback/", SUBSCRIBE)
        if "idempotency-Key" in headers or method == "GET" or path.startswith(safe):
            with suppress(OSError, HTTPException, ValueError):
                status, answer = self.send_once(method, path, body, headers)
                if status < 300:
                    return answer
        req = Request(method, self.url + path, headers, data=body).prepare()
        return json.loads(json.dumps(super().call(req)), object_hook=_clean)

    def send_once(
        self, method: str | None, path: str, body: Any, headers: Mapping[Any, Any]
    ) -> tuple[int, Any]:
        """Send a request over the kept connection. Returns the answer's status and content."""
        if (pid := str(os.getpid())) not in (kept := vars(self.kept)):  # so after a fork
            kept[pid] = _connection(self.url)
        try:
            kept[pid].request(str(method), path, body, {**headers, **self.auth})
            response = kept[pid].getresponse()
            return response.status, json.loads(response.read() or "null", object_hook=_clean)
        except (OSError, HTTPException, ValueError):
            kept[pid].close()
            raise


class _Requests(RemotePromiseStore, RemoteTaskStore):
    """Makes the requests of a recursion. In the SDK, to prepare one takes as long as to send it."""

    def __init__(self, store: _Store) -> None:
        super().__init__(store)
        self.store = store

    def create(self, id: str, timeout: int, *, tags: Any = None, **rest: Any) -> DurablePromise:
        body = {"id": id, "param": self._value(**rest), "timeout": timeout, "tags": tags or {}}
        return self._promise("POST", "/promises", body, **rest)

    def resolve(self, id: str, **rest: Any) -> DurablePromise:
        body = {"state": "RESOLVED", "value": self._value(**rest)}
        return self._promise("PATCH", f"/promises/{quote(id)}", body, **rest)

    def reject(self, id: str, **rest: Any) -> DurablePromise:
        body = {"state": "REJECTED", "value": self._value(**rest)}
        return self._promise("PATCH", f"/promises/{quote(id)}", body, **rest)

    def _value(self, headers: Any = None, data: Any = None, **_: Any) -> dict[str, Any]:
        value = {"headers": headers, "data": self.store.encoder.encode(data)}
        return {name: part for name, part in value.items() if part is not None}

    def _promise(
        self, method: str, path: str, body: Any, ikey: Any = None, strict: bool = False, **_: Any
    ) -> DurablePromise:
        headers = {"strict": str(strict)} | ({} if ikey is None else {"idempotency-Key": ikey})
        answer = self.store.send(method, path, json.dumps(body), JSON | headers)
        return _Promise.from_dict(self.store, answer)

    def claim(
        self, id: str, counter: int, pid: str, ttl: int
    ) -> tuple[DurablePromise, DurablePromise | None]:
        body = {"id": id, "counter": counter, "processId": pid, "ttl": ttl}
        found = self.store.send("POST", "/tasks/claim", json.dumps(body), JSON)["promises"]
        both = {key: _Promise.from_dict(self.store, found[key]["data"]) for key in found}
        return both["root"], both.get("leaf")

    def complete(self, id: str, counter: int) -> bool:
        body = {"id": id, "counter": counter}
        self.store.send("POST", "/tasks/complete", json.dumps(body), JSON)
        return True


class _Promise(DurablePromise):  # gives the built-in exception of a step its type again
    def result(self, encoder: Any) -> Result[Any]:
        result = super().result(encoder)
        kind = getattr(builtins, (self.value.headers or {}).get("exception", ""), None)
        step = self.rejected and self.tags.get("resonate:scope") == "local"
        if step and isinstance(kind, type) and issubclass(kind, Exception):
            with suppress(TypeError):
                return Ko(kind(*result.value.args))
        return result


class _Messages(Poller):
    """Reads the stream in `next`, reconnects within a second, and asks for what it has missed."""

    store: _Store

    def start(self) -> None:
        self.stopped, self.messages = Event(), self._read()

    def next(self) -> Mesg | None:
        mesg = next(self.messages, None)
        if mesg is not None:
            self.store.awaited.pop(mesg.get("promise", {}).get("id"), None)
        return mesg

    def stop(self) -> None:
        with suppress(AttributeError, OSError):  # if it has not started, or is not connected
            self.stopped.set()
            self.socket.shutdown(SHUT_RDWR)

    def _read(self) -> Iterator[Any]:
        path = quote(urlsplit(self.url).path)
        while not self.stopped.is_set():
            stream = _connection(self.url)
            try:
                stream.connect()
                self.socket = stream.sock
                self.socket.settimeout(None)
                if self.stopped.is_set():
                    break
                stream.request("GET", path, headers=self.store.auth)
                lines = stream.getresponse()
                if lines.status != 200:
                    raise HTTPException(lines.status, lines.reason)  # noqa: TRY301 - see below
                yield from self._missed()
                for line in lines:
                    if line.startswith(b"data:"):
                        yield json.loads(line[5:], object_hook=_clean)
            except (OSError, HTTPException, ValueError) as e:
                logging.getLogger(__name__).warning("No messages from %s: %s", self.url, e)
            stream.close()
            self.stopped.wait(0.5)

    def _missed(self) -> Iterator[Any]:
        vars(self.store.kept).clear()  # the server may have been restarted
        for req in list(self.store.awaited.values()):
            status, answer = self.store.send_once(req.method, req.path_url, req.body, req.headers)
            if status < 300 and answer["promise"]["state"] != "PENDING":
                yield {"type": "notify", "promise": answer["promise"]}


def _clean(obj: dict[str, Any]) -> dict[str, Any]:
    """Of jsonpickle's form of a value, keep only the name of a built-in exception."""
    pickled = obj.pop("resonate:format-py", "")
    if found := re.match(r'{"py/reduce": \[{"py/type": "builtins\.(\w+)"}', pickled):
        obj["exception"] = found[1]
    return obj
