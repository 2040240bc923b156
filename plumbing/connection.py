"""Requests to a Resonate server, over connections that stay open."""

from __future__ import annotations

import base64
import json
import logging
import os
import socket
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPConnection, HTTPException, HTTPSConnection, responses
from itertools import chain, repeat
from operator import itemgetter
from ssl import SSLCertVerificationError
from threading import local
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, override
from urllib.parse import unquote, urlsplit

from resonate.errors import ResonateStoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from urllib.parse import SplitResult

logger = logging.getLogger("plumbing")

TIMEOUT: Final = 5  # how long the server may take to answer (seconds)
PATIENCE: Final = 1.5  # how long to look for a server that has never answered (seconds)
QUIET: Final = 5  # how long to retry before a warning (seconds)
MAX_ANSWER: Final = 64 * 2**20  # bytes
TOO_LARGE: Final = {413, 414, 431}  # the statuses for a body, a path and a header

# After 15 idle seconds the system sends three probes, 5 s apart. Without these options it takes two
# hours to notice that the other machine has failed. macOS has its own name for the first option.
_KEEPALIVE: Final = {"TCP_KEEPIDLE": 15, "TCP_KEEPALIVE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}


class ServerError(ConnectionError):
    """The program at an address is not a Resonate server that this SDK can use."""


class UnreachableError(ServerError):
    """No Resonate server answers at an address now; one may later."""


class RefusedError(ResonateStoreError):
    """The server refused a request.

    Args:
        message: the server's words.
        number: the server's code, like 40306.
    """

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message, number)
        self.number = number

    def __str__(self) -> str:
        return self.mesg


def pauses() -> Iterator[float]:
    """Return the pauses between attempts, in seconds."""
    return chain([0.1, 0.2, 0.4, 0.8], repeat(1.0))


class _HTTP(HTTPConnection):
    """Sends the head and the body of a request together, so the server reads once."""

    _parts: list[Any] | None = None

    @override
    def request(self, *args: Any, **options: Any) -> None:
        self._parts = []
        super().request(*args, **options)
        parts, self._parts = self._parts, None
        super().send(b"".join(parts))

    @override
    def send(self, data: Any) -> None:
        if self._parts is None:
            super().send(data)
        else:
            self._parts.append(data)


class _HTTPS(_HTTP, HTTPSConnection):
    """The same over TLS."""


@dataclass(frozen=True)
class Address:
    """One port of a server.

    Args:
        url: the scheme, the host and the port.
        auth: the user name and the password, if the server needs them.
    """

    url: str
    auth: tuple[str, str] | None

    @classmethod
    def of(cls, role: str, host: str | None, port: str, auth: tuple[str, str] | None) -> Self:
        """Find a port like the SDK: first in the arguments, then in the environment.

        Args:
            role: `STORE` or `MESSAGE_SOURCE`, as in the names of the environment variables.
            host: the scheme and the host, or None.
            port: the port, or an empty text.
            auth: the user name and the password, or None.
        """
        env = os.environ
        default = env.get("RESONATE_HOST", "http://localhost")
        host = host or env.get(f"RESONATE_HOST_{role}", default)
        port = port or env.get(f"RESONATE_PORT_{role}", "8001" if role == "STORE" else "8002")
        if not auth and "RESONATE_USERNAME" in env:
            auth = env["RESONATE_USERNAME"], env.get("RESONATE_PASSWORD", "")
        return cls(f"{host}:{port}", auth)

    @cached_property
    def parts(self) -> SplitResult:
        """The parts of the URL.

        Raises:
            ServerError: the address is not valid.
        """
        parts = urlsplit(self.url)
        with suppress(ValueError):  # of the port
            if (
                parts.scheme in {"http", "https"}
                and parts.hostname
                and parts.port
                and not (parts.path or parts.query or parts.fragment)
            ):
                return parts
        raise ServerError(
            f"{self.url} is not the address of a server. RESONATE_HOST must be like "
            "http://localhost, and the ports must be from 1 to 65535."
        )

    @cached_property
    def headers(self) -> dict[str, bytes]:
        """The headers that carry the credentials."""
        parts, auth = self.parts, self.auth
        if not auth and parts.username is not None:
            auth = unquote(parts.username), unquote(parts.password or "")
        if not auth:
            return {}
        return {"Authorization": b"Basic " + base64.b64encode(":".join(auth).encode())}

    def open(self) -> HTTPConnection:
        """Open a connection.

        Raises:
            OSError: the connection failed.
        """
        assert self.parts.hostname is not None
        kind = _HTTPS if self.parts.scheme == "https" else _HTTP
        connection = kind(self.parts.hostname, self.parts.port, timeout=TIMEOUT)
        connection.connect()
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE.items():
            if hasattr(socket, name):
                connection.sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        return connection

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Inside, turn the errors of a connection into a ServerError or an UnreachableError."""
        try:
            yield
        except ServerError:
            raise
        except SSLCertVerificationError as e:
            raise ServerError(
                f"The certificate of {self.url} is not valid: {e.verify_message}."
            ) from e
        except (OSError, HTTPException) as e:
            raise UnreachableError(
                f"Cannot reach the Resonate server at {self.url}. "
                "Start it with `uv run python -m devserver`, or set RESONATE_HOST."
            ) from e

    def failure(self, status: int) -> ServerError:
        """Explain an answer that this SDK never gets from a legacy Resonate server."""
        if status == 401:
            said, advice = ("rejected these", "Check") if self.headers else ("needs", "Set")
            return ServerError(
                f"The Resonate server at {self.url} {said} credentials. "
                f"{advice} RESONATE_USERNAME and RESONATE_PASSWORD."
            )
        found = f"{status} {responses.get(status, '')}".strip()
        if status == 429 or status >= 500:
            return UnreachableError(f"The server at {self.url} answers {found}.")
        newer = "a Resonate server of version 0.9 or later"
        return ServerError(
            f"The program at {self.url} is {newer if status == 410 else 'not a Resonate server'} "
            f"({found}). SDK 0.6.x needs a legacy server: "
            "`uv run python -m devserver`, or `resonate serve` up to v0.8.2."
        )


class _Kept(local):
    """The open connection of each thread."""

    connection: HTTPConnection | None = None


class Request(NamedTuple):
    """The arguments of `HTTPConnection.request`."""

    method: str
    path: str
    body: bytes | None
    headers: dict[str, bytes]


class Server:
    """The API of a Resonate server.

    Args:
        address: its API port.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._answered = False
        self._kept = _Kept()

    def check(self) -> None:
        """Make sure that a Resonate server is there.

        Raises:
            UnreachableError: no server answers, or a proxy answers that it cannot reach one.
            ServerError: another program is there, the server rejected the credentials, or the
                address is not valid.
        """
        request = Request("GET", "/promises?id=none&limit=1", None, self.address.headers)
        try:
            self._attempt(itemgetter("promises"), request)
        except RefusedError as e:
            raise ServerError(f"The server at {self.address.url} refused this: {e}") from e

    def call[T](
        self,
        read: Callable[[Any], T],
        method: str,
        path: str,
        content: object = None,
        headers: Mapping[str, str | None] | None = None,
    ) -> T:
        """Send a request, and repeat it until the server answers.

        Args:
            read: reads the result from the answer's JSON.
            method: like `POST`.
            path: what follows the port, quoted.
            content: what to send as JSON, or None.
            headers: further headers. A header that is None is left out.

        Returns:
            What `read` returns.

        Raises:
            ServerError: no Resonate server has ever answered.
            RefusedError: the server refused the request.
        """
        body = None if content is None else json.dumps(content).encode()
        further = {k: _one_line(v) for k, v in (headers or {}).items() if v is not None}
        request = Request(method, path, body, self.address.headers | further)
        began = time.monotonic()
        said = False
        for pause in pauses():
            try:
                return self._attempt(read, request)
            except ServerError as e:
                waited = time.monotonic() - began
                if not self._answered and waited > PATIENCE:
                    raise
                if not said and waited > QUIET:
                    said = True
                    logger.warning("%s Trying again.", e)
            time.sleep(pause)
        raise AssertionError("pauses() does not end")

    def _attempt[T](self, read: Callable[[Any], T], request: Request) -> T:
        """Send a request once."""
        with self.address.explained():
            status, answer = self._exchange(request)
        problem = None
        with suppress(ValueError, TypeError, LookupError, AttributeError):  # not from Resonate
            if 200 <= status < 300:
                result = read(json.loads(answer) if answer else None)
                self._answered = True
                return result
            if 400 <= status < 500 and status not in {401, 429}:
                problem = _refusal(status, request.body, answer)
        raise problem or self.address.failure(status)

    def _exchange(self, request: Request) -> tuple[int, bytes]:
        """Send a request, and read the status and the body of the answer."""
        kept, self._kept.connection = self._kept.connection, None
        if kept is not None:
            # The server may have closed the idle connection, or it may have restarted.
            with suppress(OSError, HTTPException):
                return self._send(kept, request)
        return self._send(self.address.open(), request)

    def _send(self, connection: HTTPConnection, request: Request) -> tuple[int, bytes]:
        with ExitStack() as stack:
            stack.callback(connection.close)
            # The server may refuse a large request before it has read it all.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.request(*request)
            response = connection.getresponse()
            answer = response.read(MAX_ANSWER)
            if response.isclosed() and not response.will_close:
                self._kept.connection = connection
                stack.pop_all()
            return response.status, answer


def _one_line(value: str) -> bytes:
    # A line break would end the header. The SDK sends Latin-1 if it can.
    value = value.translate({10: " ", 13: " "})
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode(errors="replace")


def _refusal(status: int, body: bytes | None, answer: bytes) -> RefusedError:
    """Read the server's refusal. A proxy that refuses a large request may not send JSON."""
    try:
        error = json.loads(answer)["error"]
        number, words = error["code"], [error["message"]]
        if status in {400, 403, 413}:  # the details of other errors are the same each time
            words += [detail["message"] for detail in error.get("details") or []]
        message = ": ".join(dict.fromkeys(words))
    except (ValueError, TypeError, LookupError):
        if status not in TOO_LARGE:
            raise
        number, message = status * 100, responses[status]
    if status == 413:
        message = f"too large: {len(body or b'') / 2**20:.0f} MB. {message}"
    return RefusedError(message, number)
