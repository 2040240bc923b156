"""The connection to a server, as both scripts have it."""

from __future__ import annotations

import os
import uuid
from urllib.parse import urlsplit

from resonate import Resonate

from plumbing.messages import Messages
from plumbing.store import LEASE, Store
from plumbing.terminal import fail


class Remote(Resonate):
    """What `Resonate.remote` gives, on the store and the message source below.

    Args:
        group: the poll group that messages are taken from.
    """

    def __init__(self, group: str) -> None:
        # It begins with the number by which a person knows the process.
        pid = f"{os.getpid()}-{uuid.uuid4().hex[:12]}"
        self._server = Store()
        self._messages = Messages(group, pid, self._server)
        super().__init__(
            group=group, pid=pid, ttl=LEASE, store=self._server, message_source=self._messages
        )
        self._server.own_tasks.registry = self._registry


def check_environment() -> None:
    """Refuse an address that cannot be one, before the SDK tries it for ever."""
    for part in ("HOST", "HOST_STORE", "HOST_MESSAGE_SOURCE"):
        host = os.environ.get(f"RESONATE_{part}", "http://localhost")
        url = urlsplit(host)
        if url.scheme not in {"http", "https"} or url.netloc != url.hostname or url.path:
            fail(f"RESONATE_{part} is {host!r}, and should be like http://localhost")
    for part in ("PORT_STORE", "PORT_MESSAGE_SOURCE"):
        port = os.environ.get(f"RESONATE_{part}", "8001")
        if not port.isdecimal() or not 0 < int(port) < 65536:
            fail(f"RESONATE_{part} is {port!r}, and should be a port, from 1 to 65535")
