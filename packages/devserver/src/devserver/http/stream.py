"""The messages: `GET /{group}/{id}` on the message port is a stream of server-sent events."""

from __future__ import annotations

import json
import sqlite3
from contextlib import suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from devserver.connections import Connection
from devserver.store import promises
from devserver.store.models import MAX_ID

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import Receive, Scope, Send

    from devserver.connections import Connections
    from devserver.engine import Engine
    from devserver.store.dispatch import Message


class Stream:
    """The application of the message port.

    Args:
        engine: learns about each connection that opens or closes.
        connections: keeps the open connections.
        url: the URL of the API, for the links in the messages.
    """

    def __init__(self, engine: Engine, connections: Connections, url: str) -> None:
        self._engine = engine
        self._connections = connections
        self._url = url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request on the message port."""
        request = Request(scope, receive)
        if request.method == "GET":
            response = self._open(request, scope["path"])
        else:
            response = Response("method not allowed\n", 405, media_type="text/plain")
        await response(scope, receive, send)

    async def on_api_port(self, request: Request) -> Response:
        """Answer `GET /poll/{group}/{id}` on the API port: the same stream."""
        return self._open(request, "/" + request.path_params["rest"])

    def _open(self, request: Request, path: str) -> Response:
        match path.split("/", 2):
            case "", group, connection_id if len(path) <= MAX_ID:
                connection = Connection(group, connection_id)
            case _:
                return Response("invalid request\n", 400, media_type="text/plain")
        return StreamingResponse(
            self._events(connection, request),
            media_type="text/event-stream",
            headers={"cache-control": "no-cache"},
        )

    async def _events(self, connection: Connection, request: Request) -> AsyncIterator[bytes]:
        self._connections.add(connection)
        self._engine.connected(connection.id, connection.group)
        is_ended_here = False
        try:
            # The engine reports a failure of the database, and the server stops.
            with suppress(sqlite3.Error):
                while delivery := await connection.next():
                    content = await self._content(delivery.message)
                    # The SDK breaks lines at every line break of Unicode, so send ASCII.
                    yield b"data: " + json.dumps(content).encode("ascii") + b"\n\n"
                    if delivery.message.type == "notify":
                        yield b":\n\n"  # uvicorn waits before this until the message has left
                        if not await request.is_disconnected():
                            self._engine.notified(delivery.task_id)
            is_ended_here = True
        finally:
            is_last = self._connections.remove(connection)
            if not is_ended_here:
                # A connection from this machine breaks only when its process ends: it does not
                # depend on a network. (If the server ends the stream, the process still runs.)
                has_ended = is_last and _is_loopback(request)
                self._engine.disconnected(
                    connection.id, connection.group, is_last=is_last, has_ended=has_ended
                )

    async def _content(self, message: Message) -> dict[str, Any]:
        content: dict[str, Any] = {"type": message.type}
        if message.head:
            content["head"] = message.head
        if message.promise_id is not None:
            # Read now, so that the values of many notifications do not wait in memory.
            promise_id = message.promise_id
            promise = await self._engine.run(lambda db, now: promises.get(db, promise_id, now))
            content["promise"] = msgspec.to_builtins(promise)
        if message.task is not None:
            task = f"{message.task.id}/{message.task.counter}"
            content["task"] = msgspec.to_builtins(message.task)
            content["href"] = {"base": self._url} | {
                action: f"{self._url}/tasks/{action}/{task}"
                for action in ("claim", "complete", "heartbeat")
            }
        return content


def _is_loopback(request: Request) -> bool:
    return request.client is not None and ip_address(request.client.host).is_loopback
