"""Requests to a Resonate server, over connections that stay open."""

from __future__ import annotations

import base64
import json
import logging
import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPConnection, HTTPException, HTTPSConnection, responses
from itertools import chain, repeat
from ssl import SSLCertVerificationError
from threading import local
from typing import TYPE_CHECKING, Any, Final, Self, override
from urllib.parse import unquote, urlsplit

from resonate.errors import ResonateStoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from urllib.parse import SplitResult

    type Fields = dict[str, bytes]

logger = logging.getLogger("plumbing")

TIMEOUT: Final = 5  # seconds that the server may take to answer
PATIENCE: Final = 1.5  # seconds to look for a server that was never there
QUIET: Final = 5  # seconds to retry before saying so
MAX_ANSWER: Final = 64 * 2**20  # bytes
TOO_LARGE: Final = {413, 414, 431}  # the statuses for a body, a path and a header

# After 15 idle seconds the system sends three probes, 5 s apart. Without these options it takes two
# hours to notice that the other machine is gone. macOS has its own name for the first option.
_KEEPALIVE: Final = [
    (getattr(socket, name), value)
    for name, value in {
        "TCP_KEEPIDLE": 15,
        "TCP_KEEPALIVE": 15,
        "TCP_KEEPINTVL": 5,
        "TCP_KEEPCNT": 3,
    }.items()
    if hasattr(socket, name)
]


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
        """Find a port where the SDK does: in the arguments, then in the environment.

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
    def headers(self) -> Fields:
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
            OSError: this is not possible.
        """
        assert self.parts.hostname is not None
        kind = _HTTPS if self.parts.scheme == "https" else _HTTP
        connection = kind(self.parts.hostname, self.parts.port, timeout=TIMEOUT)
        connection.connect()
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            connection.sock.setsockopt(socket.IPPROTO_TCP, option, value)
        return connection

    def unreachable(self) -> UnreachableError:
        """Say that no server answers."""
        return UnreachableError(
            f"Cannot reach the Resonate server at {self.url}. "
            "Start it with `uv run python -m devserver`, or set RESONATE_HOST."
        )

    def rejection(self) -> ServerError:
        """Say that the server did not accept the credentials, or needs some."""
        said, advice = ("rejected these", "Check") if self.headers else ("needs", "Set")
        return ServerError(
            f"The Resonate server at {self.url} {said} credentials. "
            f"{advice} RESONATE_USERNAME and RESONATE_PASSWORD."
        )


class Server:
    """The API of a Resonate server.

    Args:
        address: its API port.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._answered = False
        self._kept = local()  # a connection for each thread

    def check(self) -> None:
        """Make sure that a Resonate server is there.

        Raises:
            UnreachableError: no server answers, or a proxy answers that it cannot reach one.
            ServerError: another program is there, the server rejected the credentials, or the
                address is not valid.
        """
        url, headers = self.address.url, self.address.headers
        try:
            status, body = self._exchange("GET", "/promises?id=none&limit=1", None, headers)
        except SSLCertVerificationError as e:
            raise ServerError(f"The certificate of {url} is not valid: {e.verify_message}.") from e
        except (OSError, HTTPException) as e:
            raise self.address.unreachable() from e
        found = f"{status} {responses.get(status, '')}".strip()
        if status == 401:
            raise self.address.rejection()
        if status == 429 or status >= 500:
            raise UnreachableError(f"The server at {url} answers {found}.")
        if status == 403:
            with suppress(ValueError, TypeError, LookupError):
                raise ServerError(
                    f"The server at {url} refused this: {_refusal(status, None, body)}"
                )
        with suppress(ValueError, TypeError):
            self._answered = status == 200 and "promises" in json.loads(body)
        if not self._answered:
            newer = "a Resonate server of version 0.9 or later"
            what = newer if status == 410 else "not a Resonate server"
            raise ServerError(
                f"The program at {url} is {what} ({found}). SDK 0.6.x needs a legacy server: "
                "`uv run python -m devserver`, or `resonate serve` up to v0.8.2."
            )

    def call[T](
        self,
        read: Callable[[Any], T],
        method: str,
        path: str,
        content: object = None,
        **headers: str | None,
    ) -> T:
        """Send a request, and repeat it until the server answers.

        Args:
            read: reads the result from the answer's JSON.
            method: like `POST`.
            path: what follows the port, quoted.
            content: what to send as JSON, or None.
            headers: further headers; "_" in a name stands for "-", and None leaves one out.

        Returns:
            What `read` returns.

        Raises:
            ServerError: no Resonate server has ever answered.
            RefusedError: the server refused the request.
        """
        body = None if content is None else json.dumps(content).encode()
        fields = self.address.headers | {
            name.replace("_", "-"): _one_line(value)
            for name, value in headers.items()
            if value is not None
        }
        began = time.monotonic()
        said = False
        for pause in pauses():
            try:
                return self._attempt(read, method, path, body, fields)
            except (OSError, HTTPException) as e:
                problem = str(e) or type(e).__name__
            waited = time.monotonic() - began
            if not self._answered and waited > PATIENCE:
                self.check()
            if not said and waited > QUIET:
                said = True
                logger.warning("%s does not answer (%s). Trying again.", self.address.url, problem)
            time.sleep(pause)
        raise AssertionError("pauses() does not end")

    def _attempt[T](
        self, read: Callable[[Any], T], method: str, path: str, body: bytes | None, fields: Fields
    ) -> T:
        """Send a request once. An OSError means that the server did not answer it."""
        status, answer = self._exchange(method, path, body, fields)
        if status == 401:
            raise self.address.rejection()
        try:
            if 400 <= status < 500 and status != 429:
                raise _refusal(status, body, answer)
            if 200 <= status < 300:
                return read(json.loads(answer) if answer else None)
        except (ValueError, TypeError, LookupError, AttributeError) as e:
            raise OSError("its answer is not from a Resonate server") from e
        raise OSError(f"{status} {responses.get(status, '')}")

    def _exchange(
        self, method: str, path: str, body: bytes | None, fields: Fields
    ) -> tuple[int, bytes]:
        """Send a request, and read the status and the body of the answer."""
        if getattr(self._kept, "connection", None) is None:
            return self._send(self.address.open(), method, path, body, fields)
        try:
            return self._send(self._kept.connection, method, path, body, fields)
        except (OSError, HTTPException):
            # The server has closed the idle connection, or has restarted.
            return self._send(self.address.open(), method, path, body, fields)

    def _send(
        self,
        connection: HTTPConnection,
        method: str,
        path: str,
        body: bytes | None,
        fields: Fields,
    ) -> tuple[int, bytes]:
        self._kept.connection = None
        try:
            # The server may refuse a large request before it has read it all.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, path, body, fields)
            response = connection.getresponse()
            answer = response.read(MAX_ANSWER)
        except BaseException:
            connection.close()
            raise
        if response.isclosed() and not response.will_close:
            self._kept.connection = connection
        else:
            connection.close()
        return response.status, answer


def _one_line(value: str) -> bytes:
    # A line break would end the header. The SDK sends Latin-1, where it can.
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
