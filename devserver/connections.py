"""Who listens, and who gets a message."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from devserver.address import Address
    from devserver.store.tasks import Message


class Connection:
    """A stream that a worker or a client holds open to receive messages.

    Args:
        group: the group it listens for.
        id: the name that it gave itself; for the SDK its process id.
    """

    def __init__(self, group: str, id: str) -> None:  # noqa: A002 - the protocol's name
        self.group = group
        self.id = id
        self._messages: asyncio.Queue[Message | None] = asyncio.Queue()

    def send(self, message: Message) -> None:
        """Put a message on the stream."""
        self._messages.put_nowait(message)

    def close(self) -> None:
        """End the stream, after what is on it already."""
        self._messages.put_nowait(None)

    async def next(self) -> Message | None:
        """Wait for the next message; None is the stream's end."""
        return await self._messages.get()


class Connections:
    """All streams that are open now."""

    def __init__(self) -> None:
        # Each group in the order in which its members were last served.
        self._groups: dict[str, deque[Connection]] = {}
        # The ids of those who have let a message lie, or a lease run out, and not spoken since:
        # their process hangs, though its connection is open.
        self._silent: set[str] = set()

    def add(self, connection: Connection) -> None:
        """Take in a connection; one of the same group and id is replaced by it."""
        previous = self._find(connection.group, connection.id)
        if previous is not None:
            self.remove(previous)
            previous.close()
        self._groups.setdefault(connection.group, deque()).append(connection)

    def remove(self, connection: Connection) -> None:
        """Forget a connection, if it is not forgotten already."""
        group = self._groups.get(connection.group, deque())
        if connection in group:
            group.remove(connection)
            self._silent.discard(connection.id)
        if not group:
            self._groups.pop(connection.group, None)

    def fell_silent(self, connection_id: str) -> None:
        """Pass a connection over, where others can do what is to be done."""
        if any(self._find(group, connection_id) for group in self._groups):
            self._silent.add(connection_id)

    def spoke(self, connection_id: str) -> None:
        """Count on a connection again."""
        self._silent.discard(connection_id)

    def choose(self, address: Address) -> Connection | None:
        """Find the connection that a message for an address goes to.

        Returns:
            The one that the address names; for `any`, else the members of the group in
            turn, silent ones only where there are no others; None where nobody is there.
        """
        named = self._find(address.group, address.id)
        if address.cast == "uni" or (named is not None and named.id not in self._silent):
            return named
        group = self._groups.get(address.group, deque())
        for connection in group:
            if connection.id not in self._silent:
                break
        else:
            if not group:
                return None
            connection = named or group[0]
        group.remove(connection)
        group.append(connection)
        return connection

    def members(self) -> list[tuple[str, str, bool]]:
        """List who listens: group, id, and whether it is silent."""
        return [
            (member.group, member.id, member.id in self._silent)
            for group in self._groups.values()
            for member in group
        ]

    def close(self) -> None:
        """End every stream."""
        for group in self._groups.values():
            for connection in group:
                connection.close()

    def _find(self, group: str, connection_id: str) -> Connection | None:
        members = self._groups.get(group, ())
        return next((member for member in members if member.id == connection_id), None)
