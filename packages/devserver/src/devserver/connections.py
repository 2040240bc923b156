"""The open message streams, and the choice of the process that gets a message."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from operator import attrgetter
from typing import TYPE_CHECKING

from devserver.store.dispatch import MAX_UNCLAIMED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from devserver.store.address import Address
    from devserver.store.dispatch import Choose, Delivery
    from devserver.store.rows import MessageType


class Connection:
    """A stream that a worker or a client keeps open to receive messages.

    Args:
        group: the poll group that it has joined.
        id: the name that the client chose. The SDK uses its process id.
    """

    def __init__(self, group: str, id: str) -> None:  # noqa: A002 - the protocol's name
        self.group = group
        self.id = id
        self.opened = time.monotonic()
        self._deliveries: asyncio.Queue[Delivery | None] = asyncio.Queue()

    def send(self, delivery: Delivery) -> None:
        """Put a message on the stream."""
        self._deliveries.put_nowait(delivery)

    def close(self) -> None:
        """End the stream. The engine sends its unwritten messages to other connections."""
        while not self._deliveries.empty():
            self._deliveries.get_nowait()
        self._deliveries.put_nowait(None)

    async def next(self) -> Delivery | None:
        """Wait for the next message. Returns None at the end of the stream."""
        return await self._deliveries.get()


class Connections:
    """All open streams. A process may have several, even with the same group and id."""

    def __init__(self) -> None:
        # The members of each group. The one that was served longest ago comes first.
        self._groups: dict[str, list[Connection]] = {}
        # The ids of silent processes. A process becomes silent when it misses a claim or a
        # heartbeat, and stays silent until it sends one or opens another stream. It hangs, although
        # its stream is open.
        self._silent: set[str] = set()

    def add(self, connection: Connection) -> None:
        """Add a stream."""
        self._groups.setdefault(connection.group, []).append(connection)

    def remove(self, connection: Connection) -> bool:
        """Remove a stream.

        Returns:
            Whether it was the last one of its process.
        """
        group = self._groups[connection.group]
        group.remove(connection)
        if not group:
            del self._groups[connection.group]
        is_last = not self._groups_of(connection.id)
        if is_last:
            self._silent.discard(connection.id)
        return is_last

    def fell_silent(self, process_id: str) -> None:
        """Mark a process as silent: it missed a claim or a heartbeat."""
        if self._groups_of(process_id):
            self._silent.add(process_id)

    def spoke(self, process_id: str) -> list[str]:
        """Trust a process again: it sent a claim or a heartbeat, or opened a stream.

        Returns:
            The groups in which it can take messages again; empty if it was not silent.
        """
        if process_id not in self._silent:
            return []
        self._silent.discard(process_id)
        return self._groups_of(process_id)

    def chooser(
        self, unclaimed: Mapping[tuple[str, str], int], silent: Iterable[str] = ()
    ) -> Choose:
        """Create a function that chooses the processes for the messages of one transaction.

        Choosing does not change the turns, because the transaction may fail. `send` changes them.

        Args:
            unclaimed: how many messages each process of a group has not claimed yet.
            silent: the ids of processes that count as silent from this transaction on.

        Returns:
            A function that takes an address and the type of a message. It returns the id of the
            process that gets the message, or None if no process there can take it: a process with
            `MAX_UNCLAIMED` messages gets only notifications, which are not claimed. For `any` it
            prefers the process that the address names. If that one is silent, full or absent, the
            members of the group take turns. A silent member gets a message only if the whole
            group is silent.
        """
        passed_over = self._silent.union(silent)
        load = Counter(unclaimed)
        turns: dict[str, list[Connection]] = {}

        def choose(address: Address, message_type: MessageType) -> str | None:
            if address.group not in turns:
                turns[address.group] = list(self._groups.get(address.group, ()))
            group = turns[address.group]
            talking = [one for one in group if one.id not in passed_over]
            members = talking if talking and address.cast == "any" else group
            is_claimed = message_type != "notify"
            free = [
                one for one in members if not is_claimed or load[one.group, one.id] < MAX_UNCLAIMED
            ]
            chosen = next((one for one in free if one.id == address.id), None)
            if chosen is None and address.cast == "any":
                chosen = next(iter(free), None)
            if chosen is None:
                return None
            group.remove(chosen)
            group.append(chosen)
            load[chosen.group, chosen.id] += is_claimed
            return chosen.id

        return choose

    def send(self, delivery: Delivery) -> None:
        """Put a message on its process's stream, and move the stream to the end of the turns.

        If the stream has closed since it was chosen, the engine sends the message again. Of several
        streams, the newest one gets the message: a program that the SDK has stopped leaves its
        stream open.
        """
        group = self._groups.get(delivery.group, [])
        streams = [one for one in group if one.id == delivery.process_id]
        if streams:
            connection = max(streams, key=attrgetter("opened"))
            group.remove(connection)
            group.append(connection)
            connection.send(delivery)

    def members(self) -> list[tuple[str, str, bool]]:
        """List the group and the id of each stream, and whether its process is silent."""
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

    def _groups_of(self, process_id: str) -> list[str]:
        return [
            name
            for name, members in self._groups.items()
            if any(member.id == process_id for member in members)
        ]
