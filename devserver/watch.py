"""`GET /watch`: what happens in the store, as a stream of server-sent events.

Each watcher looks for itself, a few times a second: while nobody watches, nothing runs and nothing
is kept, and one who reads slowly gets fewer and larger events.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from msgspec.json import Encoder
from starlette.responses import StreamingResponse

from devserver.store import changes
from devserver.store.changes import Run, WatchedPromise  # noqa: TC001 - msgspec reads the types

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request

    from devserver.connections import Connections
    from devserver.engine import Engine

# How often a watcher looks (seconds), and how long its stream may say nothing: a page that hears
# nothing for longer knows that the server hangs.
INTERVAL = 0.25
LONGEST_SILENCE = 5.0

_encode = Encoder().encode


class Process(NamedTuple):
    """A connection, as a watcher sees it.

    Args:
        group: the group it listens for.
        id: the name that it gave itself.
        is_silent: whether it has let a message lie, or a lease run out, and not spoken since.
    """

    group: str
    id: str
    is_silent: bool


class Event(msgspec.Struct, omit_defaults=True, rename="camel"):
    """What a watcher is told at once.

    Args:
        now: the server's time; this and every other time: ms since the epoch.
        promises: those that are new, and those that are complete now.
        runs: who has begun to work on what.
        processes: all connections, where they have changed.
        started: when the server started; it stands in the first event of a stream, which holds
            all there is to be shown.
        left_out: there are older promises than those of the first event.
    """

    now: int
    promises: list[WatchedPromise]
    runs: list[Run]
    processes: list[Process] | None = None
    started: int | None = None
    left_out: bool = False


class Watch:
    """All watchers of a server.

    Args:
        engine: the way to the store.
        connections: who is connected.
    """

    def __init__(self, engine: Engine, connections: Connections) -> None:
        self._engine = engine
        self._connections = connections
        self._started = _now()
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
        """Tell a watcher what there is, and from then on what is new, until it goes."""
        yield b"retry: 1000\n\n"  # ms until a browser tries to come back
        with suppress(sqlite3.Error):  # the server stops, and says why
            async for event in self._events():
                yield b"data: " + _encode(event) + b"\n\n"

    async def _events(self) -> AsyncGenerator[Event]:
        seen, found, left_out = await self._engine.run(changes.newest)
        processes = self._processes()
        yield Event(_now(), *found, processes, self._started, left_out)
        spoke = time.monotonic()
        while not await self._is_closed_after(INTERVAL):
            seen, found = await self._engine.run(partial(changes.since, seen))
            before, processes = processes, self._processes()
            is_news = any(found) or processes != before
            if is_news or time.monotonic() - spoke > LONGEST_SILENCE:
                yield Event(_now(), *found, processes if processes != before else None)
                spoke = time.monotonic()

    async def _is_closed_after(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._closed.wait(), seconds)
        return self._closed.is_set()

    def _processes(self) -> list[Process]:
        return sorted(Process(*member) for member in self._connections.members())


def _now() -> int:
    return time.time_ns() // 1_000_000
