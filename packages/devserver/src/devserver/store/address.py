"""Addresses of messages, such as `poll://any@group/id`."""

from __future__ import annotations

from typing import Literal, NamedTuple
from urllib.parse import urlsplit

import msgspec

from devserver.store.models import Name  # noqa: TC001 - msgspec reads the annotations


class Address(NamedTuple):
    """A poll group, or one connection of it.

    Args:
        cast: `uni` (unicast) means only this connection. `any` (anycast) prefers this connection,
            and means any other one of the group if it is not connected.
        group: the poll group that the connections joined.
        id: the connection's id, or an empty string.
    """

    cast: Literal["any", "uni"]
    group: str
    id: str = ""


class _Receiver(msgspec.Struct, forbid_unknown_fields=True):
    """An address as a JSON object, in a promise's tag or in a callback."""

    type: Name
    data: msgspec.Raw = msgspec.Raw(b"null")


class _PollData(msgspec.Struct):
    group: str
    cast: Literal["any", "uni"] = "any"
    id: str = ""


def invoke_receiver(tags: dict[str, str]) -> str | None:
    """Find the receiver of the task that a new promise creates.

    Args:
        tags: the promise's tags; `resonate:invoke` contains a name, a URL or a receiver in JSON.

    Returns:
        The receiver as JSON, or None if the promise does not create a task.
    """
    tag = tags.get("resonate:invoke")
    if tag is None:
        return None
    try:
        msgspec.json.decode(tag)
    except (msgspec.DecodeError, RecursionError):
        return msgspec.json.encode(tag).decode()
    try:
        msgspec.json.decode(tag, type=_Receiver)
    except msgspec.ValidationError:
        return None
    return tag


def parse(receiver: str) -> Address | None:
    """Read a receiver.

    Args:
        receiver: JSON: a string with a `poll://` URL, the name `default`, or an object
            with `type` and `data`.

    Returns:
        The address, or None if this server cannot deliver to that receiver.
    """
    try:
        value = msgspec.json.decode(receiver, type=str | _Receiver)
        if isinstance(value, _Receiver):
            if value.type != "poll":
                return None
            data = msgspec.json.decode(value.data, type=_PollData)
            return Address(data.cast, data.group, data.id)
    except (msgspec.DecodeError, RecursionError):
        return None
    if value == "default":
        return Address("any", "default")
    return _parse_url(value)


def _parse_url(url: str) -> Address | None:
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    # Not `hostname`, which would convert the group to lower case.
    cast, at, group = parts.netloc.rpartition("@")
    match parts.scheme, cast.lower() if at else "any":
        case "poll", "any" | "uni" as cast_known:
            return Address(cast_known, group, parts.path.removeprefix("/"))
        case _:
            return None
