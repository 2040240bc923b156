"""The open message streams, and which one gets a message."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from devserver.address import Address
    from devserver.store.tasks import Message


class Connection:
    """A stream that a worker or a client keeps open to receive messages.

    Args:
        group: the poll group that it listens for.
        id: the name that it gave itself. The SDK gives its process id.
    """

    def __init__(self, group: str, id: str) -> None:  # noqa: A002 - the protocol's name
        self.group = group
        self.id = id
        self._messages: asyncio.Queue[Message | None] = asyncio.Queue()

    def send(self, message: Message) -> None:
        """Put a message on the stream."""
        self._messages.put_nowait(message)

    def close(self) -> None:
        """End the stream after the messages that are already on it."""
        self._messages.put_nowait(None)

    async def next(self) -> Message | None:
        """Wait for the next message. Returns None at the end of the stream."""
        return await self._messages.get()


class Connections:
    """All open streams."""

    def __init__(self) -> None:
        # The members of each group by id. The member that was served longest ago comes first.
        self._groups: dict[str, OrderedDict[str, Connection]] = {}
        # The ids of silent connections. A connection is silent from the moment when its process
        # misses a claim or a heartbeat until the process sends one. The process hangs, although
        # its stream is open.
        self._silent: set[str] = set()

    def add(self, connection: Connection) -> None:
        """Add a stream. It replaces the stream of the same group and id."""
        previous = self._members(connection.group).get(connection.id)
        if previous is not None:
            self.remove(previous)
            previous.close()
        self._groups.setdefault(connection.group, OrderedDict())[connection.id] = connection

    def remove(self, connection: Connection) -> None:
        """Remove a stream, unless another one has replaced it."""
        group = self._members(connection.group)
        if group.get(connection.id) is not connection:
            return
        del group[connection.id]
        self._silent.discard(connection.id)
        if not group:
            del self._groups[connection.group]

    def fell_silent(self, connection_id: str) -> None:
        """Mark a connection as silent: its process missed a claim or a heartbeat."""
        if any(connection_id in group for group in self._groups.values()):
            self._silent.add(connection_id)

    def spoke(self, connection_id: str) -> None:
        """Trust a connection again: its process sent a claim or a heartbeat."""
        self._silent.discard(connection_id)

    def chooser(self, silent: Iterable[str] = ()) -> Callable[[Address], Connection | None]:
        """Make a function that chooses who gets the messages of one transaction.

        Choosing changes nothing here, because the transaction may fail. `send` does.

        Args:
            silent: the ids of connections that count as silent from this transaction on.

        Returns:
            A function that returns the connection for an address, or None if nothing listens
            there. For `any` it prefers the connection that the address names. If that one is
            silent or absent, the members of the group take turns. A silent member gets a message
            only if the whole group is silent.
        """
        passed_over = self._silent.union(silent)
        groups: dict[str, OrderedDict[str, Connection]] = {}

        def choose(address: Address) -> Connection | None:
            group = groups.get(address.group)
            if group is None:
                group = groups[address.group] = self._members(address.group).copy()
            chosen = group.get(address.id)
            if address.cast == "any" and (chosen is None or chosen.id in passed_over):
                members = (member for member in group.values() if member.id not in passed_over)
                chosen = next(members, None) or chosen or next(iter(group.values()), None)
            if chosen is not None:
                group.move_to_end(chosen.id)
            return chosen

        return choose

    def send(self, connection: Connection, message: Message) -> None:
        """Put a message on a stream of these. The other members of its group are next in turn."""
        self._groups[connection.group].move_to_end(connection.id)
        connection.send(message)

    def members(self) -> list[tuple[str, str, bool]]:
        """List the group and the id of each stream, and whether it is silent."""
        return [
            (member.group, member.id, member.id in self._silent)
            for group in self._groups.values()
            for member in group.values()
        ]

    def close(self) -> None:
        """End every stream."""
        for group in self._groups.values():
            for connection in group.values():
                connection.close()

    def _members(self, group: str) -> OrderedDict[str, Connection]:
        return self._groups.get(group, OrderedDict())
