"""The SDK's message source: the messages of the server to this process."""

from __future__ import annotations

import json
import logging
import math
import socket
import time
from contextlib import suppress
from http.client import HTTPException, HTTPResponse
from queue import Empty, Queue
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, cast, override
from urllib.parse import quote, urlencode, urlsplit

from resonate.models.message_source import MessageSource
from resonate.models.result import Ko

from plumbing.connection import (
    MAX_ANSWER,
    PATIENCE,
    RefusedError,
    ServerError,
    UnreachableError,
    pauses,
)
from plumbing.promises import rejection
from plumbing.values import JSON, Promise

if TYPE_CHECKING:
    from resonate.models.message import Mesg

    from plumbing.connection import Address
    from plumbing.store import Store

logger = logging.getLogger("plumbing")

LOOK: Final = 5.0  # seconds between two looks at the promises that this process waits for


class Messages(MessageSource):
    """The SDK's `MessageSource`.

    Args:
        address: the server's message port.
        group: the poll group.
        pid: the id of this process.
        ttl: the lease of a claimed task, in seconds.
        store: where the tasks are claimed.
    """

    def __init__(self, address: Address, group: str, pid: str, ttl: int, store: Store) -> None:
        self._address = address
        self._group = group
        self._pid = pid
        self._ttl = ttl
        self._store = store
        self._queue = Queue[Any]()  # messages; {} after a reconnect, and None at the end
        self._stopped = False
        self._look_at = 0.0
        self._hinted: set[str] = set()

    @property
    @override
    def unicast(self) -> str:
        return f"poll://uni@{self._group}/{self._pid}"

    @property
    @override
    def anycast(self) -> str:
        return f"poll://any@{self._group}/{self._pid}"

    @override
    def start(self) -> None:
        """Connect to both ports.

        A process that has functions waits for a server; one that only calls does not.
        """
        began = time.monotonic()
        waits = False
        for pause in pauses():
            try:
                self._store.server.check()
                stream = self._open()
                break
            except UnreachableError as e:
                if not waits and time.monotonic() - began > PATIENCE:
                    # The SDK offers no public way to check whether the registry is empty.
                    if not self._store.registry._forward_registry:  # noqa: SLF001
                        raise
                    waits = True
                    logger.warning("%s Waiting for it.", e)
            time.sleep(pause)
        if waits:
            logger.warning("Connected to the server at %s.", self._store.server.address.url)
        Thread(target=self._read, args=(stream,), name="messages", daemon=True).start()

    @override
    def stop(self) -> None:
        self._stopped = True
        self._queue.put(None)
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    @override
    def enqueue(self, mesg: Mesg) -> None:
        self._queue.put(mesg)

    @override
    def next(self) -> Mesg | None:
        """Wait for the next message that the SDK can act on."""
        while True:
            try:
                mesg = self._queue.get(timeout=max(0.0, self._look_at - time.monotonic()))
            except Empty:
                self._look(time.monotonic())
                continue
            match mesg:
                case {"type": "notify", "promise": promise}:
                    return self._notify(promise)
                case {"task": {"id": id, "counter": counter}}:
                    if self._store.tasks.take(id, counter, self._pid, self._ttl * 1000):
                        return cast("Mesg", mesg)
                case {}:
                    self._look(math.inf)
                case _:
                    return None

    def _open(self) -> HTTPResponse:
        """Open the stream of messages."""
        with self._address.explained():
            connection = self._address.open()
            self._socket = connection.sock
            path = f"/{quote(self._group)}/{quote(self._pid)}"
            connection.request("GET", path, headers=self._address.headers)
            stream = connection.getresponse()
        if stream.status == 200 and stream.headers.get_content_type() == "text/event-stream":
            self._socket.settimeout(None)
            return stream
        self._socket.close()
        raise self._address.failure(stream.status)

    def _read(self, stream: HTTPResponse | None) -> None:
        """Queue the messages of a stream; open it again when it ends."""
        while stream is not None:
            with suppress(OSError, HTTPException):
                while line := stream.readline(MAX_ANSWER):
                    if mesg := _message(line):
                        self._queue.put(mesg)
            stream = self._open_again()

    def _open_again(self) -> HTTPResponse | None:
        """Open the stream again, once the server accepts it. After `stop`, return None."""
        said, problem = "", f"Lost the server at {self._address.url}. Waiting for it."
        for pause in pauses():
            if self._stopped:
                break
            if said != problem:
                said = problem
                logger.warning(problem)
            time.sleep(pause)
            try:
                stream = self._open()
            except UnreachableError:
                pass
            except ServerError as e:
                problem = f"{e} Trying again."
            else:
                logger.warning("Connected to the server again.")
                self._queue.put({})
                return stream
        return None

    def _look(self, now: float) -> None:
        """Look at the promises that this process waits for, if the last look is a while ago.

        The server sends a notification only once, and it may be lost.
        """
        self._look_at = time.monotonic() + 1
        awaited = self._store.promises.awaited
        for name in [name for name, last in awaited.items() if last + LOOK <= now]:
            awaited[name] = time.monotonic()
            try:
                promise = self._store.server.call(self._promise, "GET", f"/promises/{quote(name)}")
            except RefusedError as e:
                promise = rejection(name, f"cannot wait for it any longer: {e}")
            if promise["state"] != "PENDING":
                self._queue.put({"type": "notify", "promise": promise})
            elif name not in self._hinted:
                self._hinted.add(name)
                self._hint(promise)

    def _promise(self, answer: Any) -> dict[str, Any]:
        Promise.from_dict(self._store, answer)  # raises an error if it is not a promise
        return cast("dict[str, Any]", answer)

    def _hint(self, promise: dict[str, Any]) -> None:
        """Ask for a worker, if nothing shows that one has taken the call."""
        name, target = promise["id"], promise.get("tags", {}).get("resonate:invoke", "")
        query = urlencode({"id": "*", "limit": 2, "tags[resonate:parent]": name})
        children = self._store.server.call(_ids, "GET", f"/promises?{query}") - {name}
        if target and not children:
            group = urlsplit(target).netloc.rpartition("@")[2]
            logger.warning("Still waiting for %s. Is a worker in group %s running?", name, group)

    def _notify(self, promise: dict[str, Any]) -> Mesg:
        """Reduce the value of a promise to its JSON: the SDK reads this message itself."""
        self._store.promises.awaited.pop(promise["id"], None)
        match Promise.from_dict(self._store, promise).result(JSON):
            case Ko(e) if promise["state"] in {"RESOLVED", "REJECTED"}:
                promise |= rejection(promise["id"], str(e))
            case _:
                promise.get("value", {}).pop("headers", None)
        return {"type": "notify", "promise": cast("Any", promise)}


def _message(line: bytes) -> Any:
    """Read a line of the stream; anything but a message of the protocol is ignored."""
    with suppress(ValueError):
        match mesg := json.loads(line.removeprefix(b"data:")):
            case {"type": "invoke" | "resume", "task": {"id": str(), "counter": int()}}:
                return mesg
            case {"type": "notify", "promise": {"id": str(), "state": str(), "value": {}}}:
                return mesg
    return None


def _ids(answer: Any) -> set[str]:
    return {promise["id"] for promise in answer["promises"]}
