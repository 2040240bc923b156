"""The SDK's class, with the sturdier connection."""

from __future__ import annotations

import logging
import os
import sys
import uuid
from threading import Lock
from typing import TYPE_CHECKING, ClassVar, Literal, Self, override

import resonate
from resonate.registry import Registry

from plumbing.connection import Address, Server
from plumbing.messages import Messages
from plumbing.promises import Promises
from plumbing.store import Store

if TYPE_CHECKING:
    from resonate.dependencies import Dependencies
    from resonate.models.store import PromiseStore


class Resonate(resonate.Resonate):
    """The SDK's `Resonate`; only the connection that `remote` makes is different."""

    _starting: ClassVar[Lock] = Lock()

    @classmethod
    @override
    def remote(
        cls,
        auth: tuple[str, str] | None = None,
        dependencies: Dependencies | None = None,
        group: str = "default",
        host: str | None = None,
        log_level: int | Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = logging.INFO,
        message_source_port: str | None = None,
        pid: str | None = None,
        registry: Registry | None = None,
        store_port: str | None = None,
        ttl: int = 10,
        workers: int | None = None,
    ) -> Self:
        """Connect to a Resonate server. The arguments are those of the SDK's `Resonate.remote`."""
        pid = pid or f"{os.getpid()}-{uuid.uuid4().hex[:12]}"
        registry = registry or Registry()
        store = Store(Server(Address.of("STORE", host, store_port or "", auth)), registry)
        address = Address.of("MESSAGE_SOURCE", host, message_source_port or "", auth)
        self = cls(
            dependencies=dependencies,
            group=group,
            log_level=log_level,
            message_source=Messages(address, group, pid, ttl, store),
            pid=pid,
            registry=registry,
            store=store,
            ttl=ttl,
            workers=workers,
        )
        # The SDK does not offer a public way to remove a computation. `Tasks` explains why it
        # has to be removed.
        store.tasks.computations = self._bridge._scheduler.computations  # noqa: SLF001
        return self

    @property
    @override
    def promises(self) -> PromiseStore:
        """The promises of the server; a refused request raises `RefusedError`."""
        return (
            Promises(self._store, raises=True)
            if isinstance(self._store, Store)
            else super().promises
        )

    @override
    def start(self) -> None:
        """Connect to the server and take calls; `rpc` and `run` do this by themselves.

        A process that has registered functions waits for a server that cannot be reached.

        Raises:
            UnreachableError: no server can be reached, and no function is registered.
            ServerError: the address is not valid, the program there is not a Resonate server that
                this SDK can use, or the server rejected the credentials.
        """
        # The SDK exits the process if it cannot write a value out, and Python refuses to write
        # integers of more than 4,300 digits.
        sys.set_int_max_str_digits(0)
        with self._starting:  # the SDK's own start fails if two threads enter it
            super().start()
