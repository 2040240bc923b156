"""The messages of the server."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from threading import Event
from typing import TYPE_CHECKING, override

import requests
from resonate.message_sources import Poller

from plumbing.store import TIMEOUT
from plumbing.terminal import say

if TYPE_CHECKING:
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
        self.connected = Event()

    @property
    def origin(self) -> str:
        """Where the messages come from."""
        return f"{self._host}:{self._port}"

    @override
    def next(self) -> Mesg | None:
        """Wait for the next message that the SDK can deal with."""
        while mesg := super().next():
            if mesg["type"] == "notify":
                break
            task = mesg["task"]
            if self._store.own_tasks.take(task["id"], task["counter"], self._id):
                break
        return mesg

    @override
    def loop(self) -> None:
        """Read messages for ever."""
        lost = False
        while True:
            with (
                suppress(requests.RequestException, ValueError),
                requests.get(
                    self.url, auth=self._auth, stream=True, timeout=(TIMEOUT, None)
                ) as answer,
            ):
                answer.raise_for_status()
                self.connected.set()
                if lost:
                    say("Connected to the server again.")
                # None: as they arrive. The types do not know that.
                for line in answer.iter_lines(None):  # type: ignore[call-overload]
                    if mesg := self._process_line(line.decode()):
                        self._messages.put(mesg)
            if self.connected.is_set():
                self.connected.clear()
                lost = True
                say(f"Lost the server at {self.origin}. Waiting for it.")
            time.sleep(1)

    @override
    def stop(self) -> None:
        """End the process, which the SDK has made deaf because the server refused a request."""
        say(f"Stopped, because the server refused a request: {self._store.refusal}")
        os._exit(1)
