"""`GET /watch`: the changes in the store, as a stream of server-sent events.

Each watcher reads the store separately, four times a second. Without watchers, this costs nothing.
A watcher that reads slowly gets fewer and larger events.

Each event is a JSON object with the lists of `Changes` that are not empty, and with

- `now`: the server's time; this and all other times are ms since the epoch.
- `processes`: all open connections, if they have changed: each one's `group` and `id`, and whether
  it `isSilent`, because it left a message unclaimed or let a lease expire, and has not sent a
  request since.
- `isFirst`: the event holds everything that the page shows. Only the first one of a stream has it.
- `leftOut`: the store has older promises than those of the first event.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec.json import Encoder
from starlette.responses import StreamingResponse

from devserver.store import changes

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request

    from devserver.connections import Connections
    from devserver.engine import Engine
    from devserver.store.changes import Changes

# How often a watcher looks (seconds), and the longest time between two events: a page that gets
# no event for longer knows that the server hangs.
INTERVAL = 0.25
LONGEST_SILENCE = 5.0

_encode = Encoder().encode


class Watch:
    """All watchers of a server.

    Args:
        engine: gives access to the store.
        connections: the open connections.
    """

    def __init__(self, engine: Engine, connections: Connections) -> None:
        self._engine = engine
        self._connections = connections
        self._closed = asyncio.Event()

    async def respond(self, _: Request) -> StreamingResponse:
        """Answer a request for the stream."""
        return StreamingResponse(
            self.stream(),
            media_type="text/event-stream",
            headers={"cache-control": "no-cache"},
        )

    def close(self) -> None:
        """End every stream."""
        self._closed.set()

    async def stream(self) -> AsyncGenerator[bytes]:
        """Send a watcher the current state, and then all changes, until it disconnects."""
        yield b"retry: 1000\n\n"  # ms until a browser reconnects
        with suppress(sqlite3.Error):  # the server stops, and reports why
            async for event in self._events():
                yield b"data: " + _encode(event) + b"\n\n"

    async def _events(self) -> AsyncGenerator[dict[str, Any]]:
        seen, found, left_out = await self._engine.run(changes.newest)
        processes = self._processes()
        yield _event(found, processes=processes, isFirst=True, leftOut=left_out)
        spoke = time.monotonic()
        while not await self._is_closed_after(INTERVAL):
            seen, found = await self._engine.run(partial(changes.since, seen))
            before, processes = processes, self._processes()
            if processes != before:
                yield _event(found, processes=processes)
            elif any(found) or time.monotonic() - spoke > LONGEST_SILENCE:
                yield _event(found)
            else:
                continue
            spoke = time.monotonic()

    async def _is_closed_after(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._closed.wait(), seconds)
        return self._closed.is_set()

    def _processes(self) -> list[dict[str, Any]]:
        return [
            {"group": group, "id": process_id, "isSilent": is_silent}
            for group, process_id, is_silent in sorted(self._connections.members())
        ]


def _event(found: Changes, **others: Any) -> dict[str, Any]:
    lists = {name: rows for name, rows in found._asdict().items() if rows}
    return {"now": time.time_ns() // 1_000_000, **lists, **others}
