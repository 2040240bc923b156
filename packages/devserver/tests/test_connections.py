"""Which process gets a message: the rules, without a server."""

from __future__ import annotations

import asyncio

import pytest

from devserver.connections import Connection, Connections
from devserver.store.address import Address
from devserver.store.dispatch import MAX_UNCLAIMED, Delivery, Message

ANY = Address("any", "group")
ANY_ONE = Address("any", "group", "one")
UNI_ONE = Address("uni", "group", "one")


@pytest.fixture
def connections() -> Connections:
    connections = Connections()
    for name in ("one", "two", "three"):
        connections.add(Connection("group", name))
    return connections


def send(connections: Connections, address: Address, times: int = 1) -> list[str | None]:
    """Send some messages to an address, and return the processes that get them.

    A transaction that sends all of them and then fails must choose the same ones, and change
    nothing.
    """
    choose = connections.chooser({})
    in_failed_transaction = [choose(address, "invoke") for _ in range(times)]
    chosen = []
    for _ in range(times):
        process_id = connections.chooser({})(address, "invoke")
        if process_id is not None:
            connections.send(Delivery(address.group, process_id, "task", Message("invoke")))
        chosen.append(process_id)
    assert chosen == in_failed_transaction
    return chosen


def test_members_take_turns_but_any_prefers_the_named_process(connections: Connections) -> None:
    assert send(connections, ANY, 4) == ["one", "two", "three", "one"]
    assert send(connections, ANY_ONE, 2) == ["one", "one"]
    assert send(connections, ANY) == ["two"]
    assert send(connections, Address("uni", "group", "absent")) == [None]


def test_a_silent_process_gets_no_message_until_it_speaks(connections: Connections) -> None:
    assert connections.chooser({}, silent={"one"})(ANY_ONE, "invoke") == "two"
    assert send(connections, ANY_ONE) == ["one"], "the transaction was not committed"
    connections.fell_silent("one")
    assert send(connections, ANY_ONE, 3) == ["two", "three", "two"]
    assert send(connections, UNI_ONE) == ["one"], "uni allows no other process"
    full = {("group", name): MAX_UNCLAIMED for name in ("two", "three")}
    assert connections.chooser(full)(ANY, "invoke") is None, "the others will take more soon"
    assert connections.spoke("one") == ["group"]
    assert send(connections, ANY_ONE) == ["one"]
    for name in ("one", "two", "three"):
        connections.fell_silent(name)
    assert None not in send(connections, ANY, 3), "the whole group is silent"


def test_a_process_with_unclaimed_messages_gets_only_notifications(
    connections: Connections,
) -> None:
    one, two, three = (("group", name) for name in ("one", "two", "three"))
    full = {one: MAX_UNCLAIMED, two: MAX_UNCLAIMED - 1, three: MAX_UNCLAIMED}
    choose = connections.chooser(full | {("another", "two"): MAX_UNCLAIMED})
    assert [choose(ANY, "invoke"), choose(ANY_ONE, "resume")] == ["two", None]
    assert choose(UNI_ONE, "notify") == "one"


def test_the_newest_stream_of_a_process_gets_its_messages(connections: Connections) -> None:
    older, newer = (Connection("group", "four") for _ in range(2))
    for stream in (older, newer):
        connections.add(stream)
    uni = Address("uni", "group", "four")
    assert send(connections, uni, 2) == ["four", "four"]
    assert all(asyncio.run(newer.next()) for _ in range(2))
    assert not connections.remove(newer)
    assert send(connections, uni) == ["four"]
    assert asyncio.run(older.next())
    assert connections.remove(older)
    assert send(connections, uni) == [None]
