"""Answers, in JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.json import Encoder
from starlette.responses import Response

from devserver.errors import Code

if TYPE_CHECKING:
    from devserver.errors import ProtocolError

_encode = Encoder().encode


def answer(status: int, content: object) -> Response:
    """Answer with content."""
    return Response(_encode(content), status, media_type="application/json")


def error(refusal: ProtocolError) -> Response:
    """Answer that a request cannot be met, and why."""
    domain = "server" if refusal.code == Code.INTERNAL else "request"
    detail = {"message": refusal.detail or str(refusal), "domain": domain}
    content = {"code": refusal.code, "message": str(refusal), "details": [detail]}
    return answer(refusal.code.status, {"error": content})
