"""The messages of the server."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from threading import Event
from typing import TYPE_CHECKING, override

from resonate.message_sources import Poller

from plumbing.connection import Connection, pauses
from plumbing.terminal import say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resonate.models.message import Mesg

    from plumbing.store import Store


class Messages(Poller):
    """The SDK's message source, which says when it has lost the server and when it is back.

    Args:
        group: the poll group.
        pid: the process id; the server knows the connection by it.
        store: where the tasks are claimed.
    """

    def __init__(self, group: str, pid: str, store: Store) -> None:
        super().__init__(group, pid)
        self._store = store
        self._stream = self._read()
        self.connected = Event()

    @property
    def origin(self) -> str:
        """Where the messages come from."""
        return f"{self._host}:{self._port}"

    @override
    def start(self) -> None:
        """Leave the reading to the SDK's thread that asks for messages: one is enough."""

    @override
    def next(self) -> Mesg | None:
        """Wait for the next message that the SDK can deal with."""
        for mesg in self._stream:
            if mesg["type"] == "notify":
                return mesg
            task = mesg["task"]
            if self._store.own_tasks.take(task["id"], task["counter"], self._id):
                return mesg
        return None

    def _read(self) -> Iterator[Mesg]:
        """Read messages for ever."""
        connection = Connection(self.origin, self._auth)
        lost = False
        while True:
            lines = self._connect(connection)
            if lost:
                say("Connected to the server again.")
            self.connected.set()
            with suppress(OSError, ValueError):
                for line in lines:
                    if mesg := self._process_line(line.decode()):
                        yield mesg
            connection.close()
            self.connected.clear()
            lost = True
            say(f"Lost the server at {self.origin}. Waiting for it.")
            time.sleep(0.1)

    def _connect(self, connection: Connection) -> Iterator[bytes]:
        """Try until the server answers."""
        for pause in pauses():
            with suppress(OSError, ValueError):
                status, lines = connection.stream(f"/{self._group}/{self._id}")
                if status == 200:
                    return lines
                connection.close()
                if status == 401:
                    self._store.refusal = self._store.unauthorised
                    self.stop()
            time.sleep(pause)
        raise AssertionError("It never gives up.")

    @override
    def stop(self) -> None:
        """End the process, which the SDK has made deaf because the server refused a request."""
        say(f"Stopped, because the server refused a request: {self._store.refusal}")
        os._exit(1)
