"""`GET /watch`: the changes in the store, as a stream of server-sent events.

Each watcher reads the store separately, four times a second. Without watchers, this costs nothing.
A watcher that reads slowly gets fewer and larger events.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import msgspec
from msgspec.json import Encoder
from starlette.responses import StreamingResponse

from devserver.store import changes
from devserver.store.changes import (  # noqa: TC001 - msgspec reads the types
    Attempt,
    ProcessEvent,
    WatchedCallback,
    WatchedPromise,
    WatchedTask,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request

    from devserver.connections import Connections
    from devserver.engine import Engine

# How often a watcher looks (seconds), and the longest time between two events: a page that gets
# no event for longer knows that the server hangs.
INTERVAL = 0.25
LONGEST_SILENCE = 5.0

_encode = Encoder().encode


class Process(msgspec.Struct, frozen=True, rename="camel"):
    """A connection that is open.

    Args:
        group: the poll group that it has joined.
        id: the process's id.
        is_silent: whether it has left a message unclaimed, or let a lease expire, and not
            sent a request since.
    """

    group: str
    id: str
    is_silent: bool


class Event(msgspec.Struct, omit_defaults=True, rename="camel"):
    """One event of the stream. All times are ms since the epoch.

    Args:
        now: the server's time.
        promises: promises that are new, or complete now.
        tasks: tasks that are new, or that have changed.
        attempts: attempts that have ended without completing their task.
        callbacks: new callbacks.
        events: connections and disconnections, and starts and stops of the server.
        processes: all open connections, if they have changed.
        started_on: when the server started; only in the first event of a stream, which holds
            everything that the page shows.
        left_out: the store has older promises than those of the first event.
    """

    now: int
    promises: list[WatchedPromise] = []
    tasks: list[WatchedTask] = []
    attempts: list[Attempt] = []
    callbacks: list[WatchedCallback] = []
    events: list[ProcessEvent] = []
    processes: list[Process] | None = None
    started_on: int | None = None
    left_out: bool = False


class Watch:
    """All watchers of a server.

    Args:
        engine: gives access to the store.
        connections: the open connections.
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
        """Send a watcher the current state, and then all changes, until it disconnects."""
        yield b"retry: 1000\n\n"  # ms until a browser reconnects
        with suppress(sqlite3.Error):  # the server stops, and reports why
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
        return [Process(*member) for member in sorted(self._connections.members())]


def _now() -> int:
    return time.time_ns() // 1_000_000
