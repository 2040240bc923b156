"""Basic authentication, for both ports."""

from __future__ import annotations

import base64
import binascii
from secrets import compare_digest
from typing import TYPE_CHECKING

from starlette.datastructures import Headers

from devserver.http.responses import refuse
from devserver.store.errors import Code, ProtocolError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


class BasicAuth:
    """Refuses requests without the user name and the password.

    Args:
        app: handles the requests that have them.
        username: the only user.
        password: that user's password.
    """

    def __init__(self, app: ASGIApp, username: str, password: str) -> None:
        self._app = app
        self._expected = f"{username}:{password}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401, or pass the request on. `/ping` is open, as on the real server."""
        if scope["type"] != "http" or scope["path"] == "/ping" or self._knows(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        refusal = refuse(ProtocolError(Code.UNAUTHORIZED))
        refusal.headers["www-authenticate"] = 'Basic realm="devserver"'
        await refusal(scope, receive, send)

    def _knows(self, headers: Headers) -> bool:
        scheme, _, credentials = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            given = base64.b64decode(credentials, validate=True)
        except (binascii.Error, ValueError):
            return False
        return compare_digest(given, self._expected)
