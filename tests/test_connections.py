"""Which connection gets a message: the rules, without a server."""

from __future__ import annotations

import asyncio

import pytest

from devserver.address import Address
from devserver.connections import WINDOW, Connection, Connections
from devserver.store.tasks import Delivery, Message

ANY = Address("any", "group")
ANY_ONE = Address("any", "group", "one")
UNI_ONE = Address("uni", "group", "one")


@pytest.fixture
def connections() -> Connections:
    connections = Connections()
    for name in ("one", "two", "three"):
        connections.add(Connection("group", name))
    connections.add(Connection("another", "one"))
    return connections


def send(connections: Connections, address: Address, times: int = 1) -> list[str | None]:
    """Send some messages to an address, and return the ids of the connections that get them.

    A transaction that sends all of them and then fails must choose the same ones, and change
    nothing.
    """
    choose = connections.chooser()
    in_failed_transaction = [choose(address, 1) for _ in range(times)]
    chosen = []
    for _ in range(times):
        connection = connections.chooser()(address, 1)
        if connection is not None:
            connections.send(Delivery(connection, Message("invoke"), "task", 1))
        chosen.append(connection)
    assert chosen == in_failed_transaction
    return [connection.id if connection else None for connection in chosen]


def test_members_take_turns(connections: Connections) -> None:
    assert send(connections, ANY, 4) == ["one", "two", "three", "one"]


def test_any_prefers_the_named_connection(connections: Connections) -> None:
    assert send(connections, ANY_ONE, 2) == ["one", "one"]
    assert send(connections, ANY) == ["two"]


def test_a_silent_connection_gets_no_message_until_it_speaks(connections: Connections) -> None:
    connections.fell_silent("one")
    assert send(connections, ANY_ONE, 3) == ["two", "three", "two"]
    assert send(connections, ANY, 2) == ["three", "two"]
    assert send(connections, UNI_ONE) == ["one"], "uni allows no other connection"
    connections.spoke("one")
    assert send(connections, ANY_ONE) == ["one"]


def test_a_connection_that_falls_silent_in_a_transaction_gets_none_of_its_messages(
    connections: Connections,
) -> None:
    choose = connections.chooser(silent={"one"})
    chosen = choose(ANY_ONE, 1)
    assert chosen is not None
    assert chosen.id == "two"
    assert send(connections, ANY_ONE) == ["one"], "the transaction was not committed"


def test_a_silent_connection_gets_a_message_if_the_whole_group_is_silent(
    connections: Connections,
) -> None:
    for name in ("one", "two", "three"):
        connections.fell_silent(name)
    assert send(connections, ANY_ONE) == ["one"]
    assert None not in send(connections, ANY, 3)


def test_a_closed_connection_gets_no_message(connections: Connections) -> None:
    gone = connections.chooser()(UNI_ONE, 1)
    assert gone is not None
    connections.remove(gone)
    assert send(connections, UNI_ONE) == [None]
    assert send(connections, ANY_ONE, 2) == ["two", "three"]
    assert send(connections, Address("any", "nobody")) == [None]


def test_a_connection_that_was_replaced_does_not_remove_its_successor(
    connections: Connections,
) -> None:
    replaced = connections.chooser()(UNI_ONE, 1)
    assert replaced is not None
    connections.add(Connection("group", "one"))
    connections.remove(replaced)
    assert send(connections, UNI_ONE) == ["one"]


def test_a_connection_that_comes_back_is_not_silent(connections: Connections) -> None:
    connections.fell_silent("one")
    connections.add(Connection("group", "one"))
    assert send(connections, ANY_ONE) == ["one"]


def test_a_connection_that_fell_silent_while_absent_is_not_silent_when_back(
    connections: Connections,
) -> None:
    connections.fell_silent("four")
    connections.add(Connection("group", "four"))
    assert send(connections, Address("any", "group", "four")) == ["four"]


def test_a_full_connection_gets_no_message_until_half_is_written(connections: Connections) -> None:
    choose = connections.chooser()
    one = choose(UNI_ONE, WINDOW // 2)
    assert one is not None
    assert choose(UNI_ONE, WINDOW // 2) is one
    assert choose(UNI_ONE, 1) is None, "full within one transaction"
    deliveries = [Delivery(one, Message("invoke"), "task", WINDOW // 2) for _ in range(2)]
    for delivery in deliveries:
        connections.send(delivery)
    assert send(connections, UNI_ONE) == [None]
    assert send(connections, ANY_ONE, 2) == ["two", "three"]
    assert one.written(deliveries[0])
    assert not one.written(deliveries[1]), "it was not full any more"
    assert send(connections, UNI_ONE) == ["one"]


def test_a_message_that_is_larger_than_the_window_is_sent(connections: Connections) -> None:
    assert connections.chooser()(UNI_ONE, 2 * WINDOW) is not None


def test_a_closed_connection_drops_its_unwritten_messages(connections: Connections) -> None:
    one = connections.chooser()(UNI_ONE, 1)
    assert one is not None
    connections.send(Delivery(one, Message("invoke"), "task", 1))
    one.close()
    assert asyncio.run(one.next()) is None
