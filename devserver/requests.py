"""What a request says: in its body, its headers, its path and its query."""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.json import Decoder, Encoder
from msgspec.structs import replace
from starlette.requests import ClientDisconnect

from devserver.errors import Code, ProtocolError
from devserver.models import PromiseState, Search, TaskRef
from devserver.store.promises import Caller

if TYPE_CHECKING:
    from starlette.requests import Request

# What a search may ask for by `state`.
_STATES = {
    "pending": [PromiseState.PENDING],
    "resolved": [PromiseState.RESOLVED],
    "rejected": [PromiseState.REJECTED, PromiseState.CANCELED, PromiseState.TIMEDOUT],
}

# Which spellings of a boolean the protocol's header takes.
_BOOLEANS = dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True) | dict.fromkeys(
    ("0", "f", "F", "false", "FALSE", "False", ""), False
)

# The largest body (bytes), and how long it may take to arrive (seconds).
MAX_BODY = 16 * 2**20
BODY_TIMEOUT = 30.0

_decode_cursor = Decoder(Search).decode
_encode = Encoder().encode


async def read_body[T](request: Request, shape: Decoder[T]) -> T:
    """Read the body.

    Args:
        request: the request.
        shape: decodes the JSON and checks it.

    Raises:
        ProtocolError: it is not JSON of that shape, is too large, or does not arrive.
    """
    body = await _read_bytes(request)
    try:
        try:
            return shape.decode(body)
        except msgspec.ValidationError:
            # It may still be right with its nulls left out, which mean the same.
            return shape.decode(_encode(_without_nulls(msgspec.json.decode(body))))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise ProtocolError(Code.INVALID, str(e)) from e


async def _read_bytes(request: Request) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY:
                    raise ProtocolError(Code.REQUEST_LARGE, f"The limit is {MAX_BODY} bytes.")
    except TimeoutError as e:
        raise ProtocolError(Code.REQUEST_SLOW) from e
    except ClientDisconnect as e:
        raise ProtocolError(Code.INVALID, "It has ended in the middle.") from e
    return bytes(body)


def _without_nulls(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: _without_nulls(item) for key, item in value.items() if item is not None}


def read_caller(request: Request) -> Caller:
    """Read the headers that say how the request is to be treated.

    Raises:
        ProtocolError: one of them has no meaning.
    """
    headers = request.headers
    strict = _BOOLEANS.get(headers.get("strict", ""))
    if strict is None:
        raise ProtocolError(Code.INVALID, "The header strict must be true or false.")
    fence = None
    if task_id := headers.get("task-id"):
        fence = TaskRef(task_id, _counter(headers.get("task-counter", "")))
    head = {}
    if "traceparent" in headers:
        names = ("traceparent", "tracestate")
        head = {name: headers[name] for name in names if headers.get(name)}
    return Caller(headers.get("idempotency-key"), strict, fence, head)


def task_of_path(request: Request) -> TaskRef:
    """Read which task a link is about.

    Raises:
        ProtocolError: the counter is no number.
    """
    return TaskRef(request.path_params["id"], _counter(request.path_params["counter"]))


def process_of_path(task: TaskRef) -> str:
    """Name the process that claims by links, which has no name of its own."""
    return f"{task.id}/{task.counter}"


def _counter(text: str) -> int:
    try:
        return int(text)
    except ValueError as e:
        raise ProtocolError(Code.INVALID, "The counter must be a number.") from e


def read_search(request: Request) -> Search:
    """Read what to search for: the query's parameters, or where its cursor goes on.

    Raises:
        ProtocolError: one of the parameters has no meaning.
    """
    parameters = request.query_params
    try:
        if cursor := parameters.get("cursor"):
            return _decode_cursor(urlsafe_b64decode(cursor))
        state = parameters.get("state")
        return msgspec.convert(
            {
                "id": parameters.get("id", ""),
                "tags": {
                    key[len("tags[") : -1]: value
                    for key, value in parameters.multi_items()
                    if key.startswith("tags[") and key.endswith("]")
                },
                "limit": int(parameters.get("limit", "0")) or 100,
                "states": list(PromiseState) if state is None else _STATES[state.lower()],
            },
            Search,
        )
    except KeyError as e:
        detail = "The state must be one of pending, resolved and rejected."
        raise ProtocolError(Code.INVALID, detail) from e
    except (ValueError, msgspec.MsgspecError) as e:
        raise ProtocolError(Code.INVALID, str(e)) from e


def cursor_of(query: Search, places: list[int]) -> str | None:
    """Say where a search goes on, which it does only where it has filled its limit."""
    if len(places) < query.limit:
        return None
    return urlsafe_b64encode(_encode(replace(query, before=places[-1]))).decode()
