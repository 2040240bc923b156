"""The open message streams, and the choice of the stream for a message."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from devserver.address import Address
    from devserver.store.tasks import Delivery

# How many bytes may wait to be written to a connection. A connection with more is full: it does not
# get messages until half of these bytes are written. Until then, its messages wait in the database.
WINDOW = 4 * 2**20


class Connection:
    """A stream that a worker or a client keeps open to receive messages.

    Args:
        group: the poll group that it has joined.
        id: the name that the client chose. The SDK uses its process id.
    """

    def __init__(self, group: str, id: str) -> None:  # noqa: A002 - the protocol's name
        self.group = group
        self.id = id
        self.is_full = False
        self.unwritten = 0
        self._deliveries: asyncio.Queue[Delivery | None] = asyncio.Queue()

    def send(self, delivery: Delivery) -> None:
        """Put a message on the stream."""
        self.unwritten += delivery.size
        self.is_full = self.is_full or self.unwritten >= WINDOW
        self._deliveries.put_nowait(delivery)

    def written(self, delivery: Delivery) -> bool:
        """Record that a message was written to the socket.

        Returns:
            Whether the connection was full until now, and can take messages again.
        """
        self.unwritten -= delivery.size
        if self.is_full and self.unwritten <= WINDOW // 2:
            self.is_full = False
            return True
        return False

    def close(self) -> None:
        """End the stream. The engine sends its unwritten messages to other connections."""
        while not self._deliveries.empty():
            self._deliveries.get_nowait()
        self._deliveries.put_nowait(None)

    async def next(self) -> Delivery | None:
        """Wait for the next message. Returns None at the end of the stream."""
        return await self._deliveries.get()


class Connections:
    """All open streams."""

    def __init__(self) -> None:
        # The members of each group by id. The member that was served longest ago comes first.
        self._groups: dict[str, OrderedDict[str, Connection]] = {}
        # The ids of silent connections. A connection becomes silent when its process misses a
        # claim or a heartbeat, and stays silent until the process sends one. Such a process
        # hangs, although its stream is open.
        self._silent: set[str] = set()

    def add(self, connection: Connection) -> None:
        """Add a stream. It replaces the stream of the same group and id."""
        previous = self._members(connection.group).get(connection.id)
        if previous is not None:
            self.remove(previous)
            previous.close()
        self._groups.setdefault(connection.group, OrderedDict())[connection.id] = connection

    def remove(self, connection: Connection) -> bool:
        """Remove a stream.

        Returns:
            False if another stream has replaced it. That one stays.
        """
        group = self._members(connection.group)
        if group.get(connection.id) is not connection:
            return False
        del group[connection.id]
        self._silent.discard(connection.id)
        if not group:
            del self._groups[connection.group]
        return True

    def fell_silent(self, connection_id: str) -> None:
        """Mark a connection as silent: its process missed a claim or a heartbeat."""
        if any(connection_id in group for group in self._groups.values()):
            self._silent.add(connection_id)

    def spoke(self, connection_id: str) -> None:
        """Trust a connection again: its process sent a claim or a heartbeat."""
        self._silent.discard(connection_id)

    def chooser(self, silent: Iterable[str] = ()) -> Callable[[Address, int], Connection | None]:
        """Create a function that chooses the connections for the messages of one transaction.

        Choosing does not change the turns, because the transaction may fail. `send` changes them.

        Args:
            silent: the ids of connections that count as silent from this transaction on.

        Returns:
            A function that takes an address and the size of a message in bytes. It returns the
            connection that gets the message, or None if every connection there is full. For `any`
            it prefers the connection that the address names. If that one is silent, full or absent,
            the members of the group take turns. A silent member gets a message only if the whole
            group is silent.
        """
        passed_over = self._silent.union(silent)
        groups: dict[str, OrderedDict[str, Connection]] = {}
        chosen_size: dict[Connection, int] = {}

        def choose(address: Address, size: int) -> Connection | None:
            group = groups.get(address.group)
            if group is None:
                everyone = self._members(address.group).items()
                group = groups[address.group] = OrderedDict(
                    (name, member) for name, member in everyone if not member.is_full
                )
            chosen = group.get(address.id)
            if address.cast == "any" and (chosen is None or chosen.id in passed_over):
                members = (member for member in group.values() if member.id not in passed_over)
                chosen = next(members, None) or chosen or next(iter(group.values()), None)
            if chosen is not None:
                group.move_to_end(chosen.id)
                chosen_size[chosen] = chosen_size.get(chosen, 0) + size
                if chosen.unwritten + chosen_size[chosen] >= WINDOW:
                    del group[chosen.id]
            return chosen

        return choose

    def send(self, delivery: Delivery) -> None:
        """Put a message on its stream, and move the stream to the end of its group's turns.

        If the stream has closed since it was chosen, the engine sends the message again.
        """
        connection = delivery.connection
        group = self._members(connection.group)
        if group.get(connection.id) is connection:
            group.move_to_end(connection.id)
            connection.send(delivery)

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
