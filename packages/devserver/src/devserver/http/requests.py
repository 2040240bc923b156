"""Reading requests: the body, the headers, the path and the query."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace
from starlette.requests import ClientDisconnect

from devserver.store.errors import Code, ProtocolError
from devserver.store.models import MAX_ID, PromiseState, Search, TaskRef
from devserver.store.promises import Caller

if TYPE_CHECKING:
    from starlette.requests import Request

# The largest body (bytes). The real server does not have a limit.
MAX_BODY = 16 * 2**20

# The states that a promise has, for each `state` of a search.
_SEARCHED = {
    "pending": [PromiseState.PENDING],
    "resolved": [PromiseState.RESOLVED],
    "rejected": [PromiseState.REJECTED, PromiseState.CANCELED, PromiseState.TIMEDOUT],
}
# The spellings of a boolean in the header `strict`.
_BOOLEANS = dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True) | dict.fromkeys(
    ("0", "f", "F", "false", "FALSE", "False", ""), False
)
_NUMBER = re.compile("[+-]?[0-9]+")
_TAG = re.compile(r"tags\[([^\]]+)\]")


async def read_body[T](request: Request, shape: type[T]) -> T:
    """Read the body.

    Raises:
        ProtocolError: the body is not JSON of this shape, is too large, or does not arrive.
    """
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:
                raise ProtocolError(Code.REQUEST_LARGE, f"The limit is {MAX_BODY} bytes.")
    except ClientDisconnect as e:
        raise ProtocolError(Code.INVALID, "The client disconnected before the body's end.") from e
    return _decode(bytes(body), shape)


async def read_task[T: TaskRef](request: Request, shape: type[T]) -> T:
    """Read a body that names a task.

    Raises:
        ProtocolError: see `read_body`; or the counter is 0, which counts as missing.
    """
    body = await read_body(request, shape)
    if body.counter == 0:
        raise ProtocolError(Code.INVALID, "The counter is missing.")
    return body


def _decode[T](text: bytes, shape: type[T]) -> T:
    try:
        text.decode()  # msgspec does not check that raw JSON is UTF-8
        try:
            return msgspec.json.decode(text, type=shape)
        except msgspec.ValidationError:
            # A null means the same as a missing field, so the content may still be valid.
            content = _without_nulls(msgspec.json.decode(text))
            return msgspec.json.decode(msgspec.json.encode(content), type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        raise ProtocolError(Code.INVALID, str(e)) from e
    except RecursionError as e:
        raise ProtocolError(Code.INVALID, "The JSON is nested too deeply.") from e


def _without_nulls(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: _without_nulls(item) for key, item in value.items() if item is not None}


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
    counter = _int64(_text(headers, b"task-counter") or "0", "header task-counter")
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
    text = headers.get(name, b"").strip(b" \t").decode(errors="replace")
    if len(text) > MAX_ID:
        raise ProtocolError(
            Code.INVALID, f"The header {name.decode()} can have at most {MAX_ID} characters."
        )
    return text


def task_of_path(request: Request) -> TaskRef:
    """Read the task that a link names.

    Raises:
        ProtocolError: the counter is not a number.
    """
    counter = _int64(request.path_params["counter"], "counter")
    return TaskRef(request.path_params["id"], counter)


def process_of_path(task: TaskRef) -> str:
    """Name the process that claims a task by its link, because the link does not name one."""
    return f"{task.id}/{task.counter}"


def _int64(text: str, name: str) -> int:
    if len(text) < 100 and _NUMBER.fullmatch(text) and -(2**63) <= int(text) < 2**63:
        return int(text)
    raise ProtocolError(Code.INVALID, f"The {name} must be a 64-bit number.")


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
            return _decode(urlsafe_b64decode(cursor), Search)
        except ValueError as e:
            raise ProtocolError(Code.INVALID, f"The cursor is not valid: {e}") from e
    state = parameters.get("state") if has_states else None
    states = list(PromiseState) if state is None else _SEARCHED.get(state.lower())
    tags = ((_TAG.match(key), value) for key, value in parameters.items())
    query = {
        "id": parameters.get("id"),
        "tags": {tag[1]: value for tag, value in tags if tag},
        "limit": _int64(parameters.get("limit") or "0", "limit") or 100,
        "states": states,
    }
    try:
        return msgspec.convert(query, Search)
    except msgspec.ValidationError as e:
        raise ProtocolError(Code.INVALID, str(e)) from e


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
    return urlsafe_b64encode(msgspec.json.encode(replace(query, before=places[-1]))).decode()
