"""Which connection gets a message: the rules, without a server."""

from __future__ import annotations

import pytest

from devserver.address import Address
from devserver.connections import Connection, Connections
from devserver.store.tasks import Message

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
    in_failed_transaction = [choose(address) for _ in range(times)]
    chosen = []
    for _ in range(times):
        connection = connections.chooser()(address)
        if connection is not None:
            connections.send(connection, Message("invoke"))
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
    chosen = choose(ANY_ONE)
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
    gone = connections.chooser()(UNI_ONE)
    assert gone is not None
    connections.remove(gone)
    assert send(connections, UNI_ONE) == [None]
    assert send(connections, ANY_ONE, 2) == ["two", "three"]
    assert send(connections, Address("any", "nobody")) == [None]


def test_a_connection_that_was_replaced_does_not_remove_its_successor(
    connections: Connections,
) -> None:
    replaced = connections.chooser()(UNI_ONE)
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
