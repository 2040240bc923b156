"""Who gets a message: the rules, without a server."""

from __future__ import annotations

import pytest

from devserver.address import Address
from devserver.connections import Connection, Connections

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


def chosen(connections: Connections, address: Address, times: int = 1) -> list[str | None]:
    found = [connections.choose(address) for _ in range(times)]
    return [connection.id if connection else None for connection in found]


def test_members_are_served_in_turn(connections: Connections) -> None:
    assert chosen(connections, ANY, 4) == ["one", "two", "three", "one"]


def test_the_named_one_is_preferred(connections: Connections) -> None:
    assert chosen(connections, ANY_ONE, 2) == ["one", "one"]


def test_a_silent_one_is_passed_over_until_it_speaks(connections: Connections) -> None:
    connections.fell_silent("one")
    assert chosen(connections, ANY_ONE, 3) == ["two", "three", "two"]
    assert chosen(connections, ANY, 2) == ["three", "two"]
    assert chosen(connections, UNI_ONE) == ["one"], "nobody else may have it"
    connections.spoke("one")
    assert chosen(connections, ANY_ONE) == ["one"]


def test_silent_ones_are_better_than_nobody(connections: Connections) -> None:
    for name in ("one", "two", "three"):
        connections.fell_silent(name)
    assert chosen(connections, ANY_ONE) == ["one"]
    assert None not in chosen(connections, ANY, 3)


def test_who_is_gone_is_not_chosen(connections: Connections) -> None:
    gone = connections.choose(UNI_ONE)
    assert gone is not None
    connections.remove(gone)
    assert chosen(connections, UNI_ONE) == [None]
    assert chosen(connections, ANY_ONE, 2) == ["two", "three"]
    assert chosen(connections, Address("any", "nobody")) == [None]


def test_who_comes_back_is_not_silent(connections: Connections) -> None:
    connections.fell_silent("one")
    connections.add(Connection("group", "one"))
    assert chosen(connections, ANY_ONE) == ["one"]


def test_who_fell_silent_while_away_is_not_silent_when_back(connections: Connections) -> None:
    connections.fell_silent("four")
    connections.add(Connection("group", "four"))
    assert chosen(connections, Address("any", "group", "four")) == ["four"]
