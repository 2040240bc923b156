"""The SDK's store."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, override

from resonate.encoders import Base64Encoder
from resonate.stores import RemoteStore

from plumbing.promises import Promises
from plumbing.tasks import Tasks

if TYPE_CHECKING:
    from resonate.registry import Registry

    from plumbing.connection import Server


class Store:
    """The SDK's `Store`.

    Args:
        server: the server's API.
        registry: the functions that this process can run.
    """

    def __init__(self, server: Server, registry: Registry) -> None:
        self.server = server
        self.registry = registry
        self.encoder = _Encoder()
        self.tasks = Tasks(self)
        self.promises = Promises(self)
        # The SDK's own schedules will do, because its threads do not use them.
        host, _, port = server.address.url.rpartition(":")
        self.schedules = RemoteStore(host=host, port=port, auth=server.address.auth).schedules


class _Encoder(Base64Encoder):
    """Bytes that are not UTF-8 become U+FFFD; such a value is refused when it is read."""

    @override
    def decode(self, obj: str | None) -> str | None:
        return None if obj is None else base64.b64decode(obj).decode(errors="replace")
