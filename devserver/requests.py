"""Reading requests: the body, the headers, the path and the query."""

from __future__ import annotations

import asyncio
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.inspect import DictType, IntType, RawType, StrType, StructType, type_info
from msgspec.json import Decoder, Encoder
from msgspec.structs import replace
from starlette.requests import ClientDisconnect

from devserver.errors import Code, ProtocolError
from devserver.limits import EXTENSION
from devserver.models import CompletePromise, PromiseState, Search, TaskRef
from devserver.store.promises import Caller

if TYPE_CHECKING:
    from starlette.requests import Request

# The states that a caller can give to a promise, and the states for each `state` of a search.
_COMPLETED = ("RESOLVED", "REJECTED", "REJECTED_CANCELED")
_SEARCHED = {
    "pending": [PromiseState.PENDING],
    "resolved": [PromiseState.RESOLVED],
    "rejected": [PromiseState.REJECTED, PromiseState.CANCELED, PromiseState.TIMEDOUT],
}

# The spellings of a boolean in the header `strict`.
_BOOLEANS = dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True) | dict.fromkeys(
    ("0", "f", "F", "false", "FALSE", "False", ""), False
)

# The largest body (bytes), and how long it may take to arrive (seconds).
MAX_BODY = 16 * 2**20
BODY_TIMEOUT = 30.0
# The server reads only this many large bodies at a time, so that unfinished ones do not fill its
# memory. Other clients with large bodies wait, and this time counts towards the time limit.
LARGE_BODIES = 4
SMALL_BODY = 64 * 2**10
_large_bodies = asyncio.Semaphore(LARGE_BODIES)

_NUMBER = re.compile("[+-]?[0-9]+")
_TAG = re.compile(r"tags\[([^\]]+)\]")
_COMPLETE_PROMISE = Decoder(CompletePromise)
_decode_cursor = Decoder(Search).decode
_encode = Encoder().encode


async def read_body[T](request: Request, shape: Decoder[T]) -> T:
    """Read the body.

    Args:
        request: the request.
        shape: decodes the JSON and checks it.

    Raises:
        ProtocolError: the body is not JSON of this shape, is too large, or does not arrive.
    """
    body = await _read_bytes(request)
    try:
        try:
            return shape.decode(body)
        except msgspec.ValidationError:
            return _read_again(body, shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise ProtocolError(Code.INVALID, str(e)) from e


async def read_completion(request: Request) -> CompletePromise:
    """Read the body of a request that completes a promise.

    Raises:
        ProtocolError: see `read_body`; or a caller cannot give this state to a promise.
    """
    body = await read_body(request, _COMPLETE_PROMISE)
    if body.completed_state not in _COMPLETED:
        if body.completed_state in list(PromiseState):
            detail = "the field state must be one of resolved, rejected, rejected_canceled"
        else:
            detail = f"invalid state '{body.state}'"
        raise ProtocolError(Code.INVALID, detail)
    return body


async def read_task[T: TaskRef](request: Request, shape: Decoder[T]) -> T:
    """Read a body that names a task.

    Raises:
        ProtocolError: see `read_body`; or the counter is 0, which counts as missing.
    """
    body = await read_body(request, shape)
    if body.counter == 0:
        raise ProtocolError(Code.INVALID, "The field counter is required.")
    return body


async def _read_bytes(request: Request) -> bytes:
    if request.scope["extensions"][EXTENSION]["is_complete"]:
        # Like almost every body. A timer would cost more than reading it. It is not too large:
        # uvicorn stops reading from the connection while so much is not read here.
        return await request.body()
    length = request.headers.get("content-length", "")
    is_small = length.isdigit() and int(length) <= SMALL_BODY
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT), nullcontext() if is_small else _large_bodies:
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY:
                    raise ProtocolError(Code.REQUEST_LARGE, f"The limit is {MAX_BODY} bytes.")
    except TimeoutError as e:
        raise ProtocolError(Code.REQUEST_SLOW) from e
    except ClientDisconnect as e:
        raise ProtocolError(Code.INVALID, "The client disconnected before the body's end.") from e
    return bytes(body)


def _read_again[T](body: bytes, shape: Decoder[T]) -> T:
    """Read a body that its decoder refused.

    A null means the same as a missing field, so the body may still be valid. If it is not, the
    answer lists all mistakes, but the decoder stops at the first one.
    """
    mistakes: list[str] = []
    filled = _fill(msgspec.json.decode(body), type_info(shape.type), mistakes)
    content = shape.decode(_encode(filled))  # raises if a field has a wrong type
    if mistakes:
        raise ProtocolError(Code.INVALID, *mistakes)
    return content


def _fill(value: Any, shape: Any, mistakes: list[str]) -> Any:
    """Fill in the missing parts of a JSON value, and record each mistake.

    Args:
        value: the value.
        shape: what `msgspec.inspect` says about its type.
        mistakes: gets a sentence for each mistake.

    Returns:
        The value with everything that `shape` requires. Fields of a wrong type do not change.
    """
    match shape, value:
        case StructType(), dict() | None:
            value = value or {}
            return {
                field.encode_name: _fill_field(field, value, mistakes)
                for field in shape.fields
                if field.required or value.get(field.encode_name) is not None
            }
        case DictType(), dict():
            return {key: "" if item is None else item for key, item in value.items()}
        case _:
            return value


def _fill_field(field: msgspec.inspect.Field, value: dict[str, Any], mistakes: list[str]) -> Any:
    name = field.encode_name
    item = value.get(name)
    required = f"The field {name.lower()} is required."
    match field.type, item:
        case RawType(), _ if name in value:
            return item
        case StrType(min_length=None), None if name in value:
            return ""
        case (StrType() | RawType(), None | "") if field.required:
            mistakes.append(required)
            return "x"
        case IntType(), None | 0 if field.required and type(item) in (type(None), int):
            mistakes.append(required)
            return 1
        case IntType(ge=0), int() if -(2**63) <= item < 0:
            mistakes.append(f"The field {name.lower()} must be be at least length 0.")
            return 0
        case _:
            return _fill(item, field.type, mistakes)


def read_caller(request: Request) -> Caller:
    """Read the headers that say how to treat the request.

    Raises:
        ProtocolError: one of them is not valid.
    """
    # If a header is repeated, the first one counts.
    headers: dict[bytes, bytes] = dict(reversed(request.scope["headers"]))
    strict = _BOOLEANS.get(_text(headers, b"strict"))
    if strict is None:
        raise ProtocolError(Code.INVALID, "The header strict must be true or false.")
    counter = 0
    if b"task-counter" in headers:
        try:
            counter = _int64(_text(headers, b"task-counter") or "0")
        except ValueError as e:
            raise ProtocolError(Code.INVALID, "The header task-counter must be a number.") from e
    task_id = _text(headers, b"task-id")
    fence = TaskRef(task_id, counter) if task_id else None
    key = _text(headers, b"idempotency-key") if b"idempotency-key" in headers else None
    head = {}
    if parent := _text(headers, b"traceparent"):
        head["traceparent"] = parent
        if state := _text(headers, b"tracestate"):
            head["tracestate"] = state
    return Caller(key, strict, fence, head)


def _text(headers: dict[bytes, bytes], name: bytes) -> str:
    return headers.get(name, b"").strip(b" \t").decode(errors="replace")


def task_of_path(request: Request) -> TaskRef:
    """Read the task that a link names.

    Raises:
        ProtocolError: the counter is not a number.
    """
    try:
        counter = _int64(request.path_params["counter"])
    except ValueError as e:
        raise ProtocolError(Code.INVALID, "the field counter must be a number") from e
    return TaskRef(request.path_params["id"], counter)


def process_of_path(task: TaskRef) -> str:
    """Name the process that claims a task by its link, because the link does not name one."""
    return f"{task.id}/{task.counter}"


def _int64(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise ValueError(text)
    number = int(text)
    if not -(2**63) <= number < 2**63:
        raise ValueError(text)
    return number


def read_search(request: Request, *, has_states: bool) -> Search:
    """Read what to search for: the parameters of the query, or the cursor in it.

    Args:
        request: the request.
        has_states: whether the query may ask for states: promises have them, schedules do not.

    Raises:
        ProtocolError: one of the parameters is not valid.
    """
    # If a parameter is repeated, the first one counts.
    parameters = dict(reversed(request.query_params.multi_items()))
    if cursor := parameters.get("cursor"):
        try:
            return _decode_cursor(urlsafe_b64decode(cursor))
        except (ValueError, msgspec.MsgspecError) as e:
            raise ProtocolError(Code.INVALID, f"The cursor is not valid: {e}") from e
    try:
        limit = _int64(parameters.get("limit") or "0")
    except ValueError as e:
        raise ProtocolError(Code.INVALID, "The field limit must be a number.") from e
    pattern = parameters.get("id")
    state = parameters.get("state") if has_states else None
    if mistakes := _search_mistakes(pattern, state, limit):
        raise ProtocolError(Code.INVALID, *mistakes)
    tags = ((_TAG.match(key), value) for key, value in parameters.items())
    query = {
        "id": pattern,
        "tags": {tag[1]: value for tag, value in tags if tag},
        "limit": limit or 100,
        "states": list(PromiseState) if state is None else _SEARCHED[state.lower()],
    }
    try:
        return msgspec.convert(query, Search)
    except msgspec.MsgspecError as e:
        raise ProtocolError(Code.INVALID, str(e)) from e


def _search_mistakes(pattern: str | None, state: str | None, limit: int) -> list[str]:
    mistakes = []
    if pattern == "":
        mistakes.append("The field id must be be at least length 1.")
    if state is not None and state.lower() not in _SEARCHED:
        mistakes.append("The field state must be one of pending, resolved, or rejected.")
    if limit < 0:
        mistakes.append("The field limit must be greater than or equal to 0.")
    if limit > 100:
        mistakes.append("The field limit must be less than or equal to 100.")
    if pattern is None and not mistakes:
        mistakes.append("the field id is required")
    return mistakes


def cursor_of(query: Search, places: list[int], *, is_cut: bool = False) -> str | None:
    """Create the cursor that continues a search.

    Args:
        query: the search.
        places: the places of the results.
        is_cut: whether the search stopped before its limit.

    Returns:
        The cursor, or None if the search is complete.
    """
    if len(places) < query.limit and not is_cut:
        return None
    return urlsafe_b64encode(_encode(replace(query, before=places[-1]))).decode()
