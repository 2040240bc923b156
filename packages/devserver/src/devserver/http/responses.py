"""Answers in JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.json import Encoder
from starlette.responses import Response

if TYPE_CHECKING:
    from devserver.store.errors import ProtocolError

# The TypeScript SDKs compare it with the versions that they support.
HEADERS = {"resonate-version": "0.8.2"}

_encode = Encoder().encode


def answer(status: int, content: object) -> Response:
    """Create an answer from what msgspec can encode."""
    return Response(_encode(content), status, HEADERS, "application/json; charset=utf-8")


def refuse(error: ProtocolError) -> Response:
    """Create the answer that carries an error."""
    details = [{"message": error.detail}] if error.detail else []
    content = {"code": error.code, "message": error.code.message, "details": details}
    return answer(error.code // 100, {"error": content})
