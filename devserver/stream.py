"""The message port: `GET /{group}/{id}` is a stream of server-sent events."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from msgspec.json import Encoder
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route

from devserver.connections import Connection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

    from devserver.connections import Connections
    from devserver.engine import Engine
    from devserver.store.tasks import Message

_encode = Encoder().encode


def stream_app(engine: Engine, connections: Connections, url: str) -> Starlette:
    """Make the application of the message port.

    Args:
        engine: is told who comes and goes.
        connections: where the open streams are kept.
        url: where the API is, for the links in the messages.
    """

    async def events(connection: Connection, *, is_local: bool) -> AsyncIterator[bytes]:
        connections.add(connection)
        engine.connected(connection.id)
        try:
            while message := await connection.next():
                yield b"data: " + _with_links(message, url) + b"\n\n"
        except (asyncio.CancelledError, GeneratorExit):
            # The other side has gone. (Where this side ends the stream, the process lives.)
            # From this machine there is no network between that could break.
            engine.disconnected(connection.id, has_ended=is_local)
            raise
        finally:
            connections.remove(connection)

    async def listen(request: Request) -> StreamingResponse:
        connection = Connection(request.path_params["group"], request.path_params["id"])
        return StreamingResponse(
            events(connection, is_local=_is_loopback(request)),
            media_type="text/event-stream",
            headers={"cache-control": "no-cache"},
        )

    return Starlette(routes=[Route("/{group}/{id:path}", listen)])


def _is_loopback(request: Request) -> bool:
    return request.client is not None and ip_address(request.client.host).is_loopback


def _with_links(message: Message, url: str) -> bytes:
    content: dict[str, Any] = {"type": message.type}
    if message.head:
        content["head"] = message.head
    if message.task is None:
        content["promise"] = message.promise
    else:
        task = f"{message.task.id}/{message.task.counter}"
        content["task"] = message.task
        content["href"] = {"base": url} | {
            action: f"{url}/tasks/{action}/{task}" for action in ("claim", "complete", "heartbeat")
        }
    return _encode(content)
