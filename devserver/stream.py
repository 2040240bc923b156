"""The message port: `GET /{group}/{id}` is a stream of server-sent events."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route

from devserver.connections import Connection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

    from devserver.connections import Connections
    from devserver.engine import Engine

_encode = msgspec.json.Encoder().encode


def stream_app(engine: Engine, connections: Connections) -> Starlette:
    """Make the application of the message port.

    Args:
        engine: is told who comes and goes.
        connections: where the open streams are kept.
    """

    async def events(connection: Connection) -> AsyncIterator[bytes]:
        connections.add(connection)
        engine.connected()
        try:
            while message := await connection.next():
                yield b"data: " + _encode(message) + b"\n\n"
        except (asyncio.CancelledError, GeneratorExit):
            # The other side has gone. (Where this side ends the stream, the process lives.)
            engine.disconnected(connection.id)
            raise
        finally:
            connections.remove(connection)

    async def listen(request: Request) -> StreamingResponse:
        connection = Connection(request.path_params["group"], request.path_params["id"])
        return StreamingResponse(
            events(connection),
            media_type="text/event-stream",
            headers={"cache-control": "no-cache"},
        )

    return Starlette(routes=[Route("/{group}/{id:path}", listen)])
