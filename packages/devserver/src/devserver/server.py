"""One web server on two ports, and the parts behind it."""

from __future__ import annotations

import logging
import resource
import signal
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, override

import uvicorn

from devserver.connections import Connections
from devserver.engine import Engine
from devserver.http.api import api_app
from devserver.http.auth import BasicAuth
from devserver.http.guard import Guard
from devserver.http.stream import Stream
from devserver.page.routes import page_routes
from devserver.page.watch import Watch

if TYPE_CHECKING:
    import socket
    import sqlite3
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator
    from types import FrameType

    from starlette.applications import Starlette
    from starlette.types import ASGIApp, Receive, Scope, Send

    from devserver.store.database import Database

# How many connections may wait to be accepted. The SDK opens one for each call.
BACKLOG = 2048
# When the server stops: how long clients have to read their answers (seconds).
GRACE = 2


def serve(
    db: Database,
    api_sockets: list[socket.socket],
    poll_sockets: list[socket.socket],
    *,
    url: str,
    started: Callable[[], None],
    auth: tuple[str, str] | None,
    names: Iterable[str],
) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        db: the database.
        api_sockets: bound to the port of the API.
        poll_sockets: bound to the port of the messages.
        url: the URL of the API, for the links in answers and messages.
        started: called when the server answers requests and handles signals.
        auth: the required user name and password, or None.
        names: the host names of this server; see `Guard`.

    Raises:
        sqlite3.Error: the database failed, which has stopped the server.
    """
    connections = Connections()
    failures: list[sqlite3.Error] = []

    def failed(error: sqlite3.Error) -> None:
        failures.append(error)
        server.should_exit = True

    engine = Engine(db, connections, url, failed)
    watch = Watch(engine, connections)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        engine.start()
        started()
        yield
        engine.stop()

    stream = Stream(engine, connections, url)
    api = api_app(engine, stream, page_routes(watch), url=url, lifespan=lifespan)
    poll_port = poll_sockets[0].getsockname()[1]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        is_stream = scope["type"] == "http" and scope["server"][1] == poll_port
        await (stream if is_stream else api)(scope, receive, send)

    answering: ASGIApp = app if auth is None else BasicAuth(app, *auth)
    config = uvicorn.Config(
        Guard(answering, names, poll_port),
        backlog=BACKLOG,
        log_config=None,  # uvicorn's default fails if stdout is closed
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=GRACE,
    )
    _allow_many_connections()
    server = _Server(config, connections, watch)
    server.run(api_sockets + poll_sockets)
    if failures:
        raise failures[0]


def _allow_many_connections() -> None:
    """Raise the limit of open files to the most that the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError):  # on systems where "unlimited" is more than the kernel accepts
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, connections: Connections, watch: Watch) -> None:
        super().__init__(config)
        self._connections = connections
        self._watch = watch

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._connections.close()
        self._watch.close()
        # uvicorn would print a traceback for each request that does not end within the grace.
        logging.getLogger("uvicorn.error").disabled = True
        await super().shutdown(sockets)

    @override
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # At a second signal, uvicorn would stop in the middle of the shutdown.
        self.should_exit = True

    @override
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn would send the signal to this process again at the end.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.handle_exit)
        yield
