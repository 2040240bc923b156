"""HTTP/1.1 on a connection that stays open, as far as a Resonate server speaks it.

The SDK opens a connection for each request. And where most of a call's time is spent on requests,
the standard library's client, which reads headers as it reads an e-mail's, takes three times as
long for each as this one.
"""

from __future__ import annotations

import base64
import socket
import ssl
from itertools import chain, repeat
from typing import TYPE_CHECKING, BinaryIO, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TIMEOUT: Final = 5  # seconds that the server may take for an answer

# Idle for 15 s, then three questions, 5 s apart. Some systems lack one of them or the other;
# macOS has its own name for the first.
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


def pauses() -> Iterator[float]:
    """Say how long to wait before each further try (seconds): at first a server may be starting."""
    return chain([0.1, 0.2, 0.4, 0.8], repeat(1.0))


class Connection:
    """A connection to one port of a server; it is opened when it is used.

    Args:
        url: the scheme, host and port.
        auth: the user name and the password, where the server asks for them.
    """

    def __init__(self, url: str, auth: tuple[str, str] | None) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._tls = parts.scheme == "https"
        self._address = (parts.hostname, parts.port or (443 if self._tls else 80))
        self._headers = {"Host": parts.netloc}
        if auth is not None:
            credentials = base64.b64encode(":".join(auth).encode()).decode()
            self._headers["Authorization"] = f"Basic {credentials}"
        self._socket: socket.socket | None = None

    def request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes = b""
    ) -> tuple[int, bytes]:
        """Send a request and read its answer.

        Args:
            method: like `POST`.
            path: what follows the port, quoted.
            headers: besides those that belong to the connection and to the body.
            body: JSON, or nothing.

        Returns:
            The status and the body.

        Raises:
            OSError: the connection cannot be opened, or has broken; the next request opens it anew.
            ValueError: what came is no answer; likewise.
        """
        try:
            self._send(method, path, headers, body)
            status, fields = self._read_head()
            content = b"".join(self._read_body(fields))
        except (OSError, ValueError):
            self.close()
            raise
        if fields.get(b"connection", b"").lower() == b"close":
            self.close()
        return status, content

    def stream(self, path: str) -> tuple[int, Iterator[bytes]]:
        """Send a request whose answer goes on and on.

        Returns:
            The status, and the answer's lines as they arrive.

        Raises:
            OSError: the connection cannot be opened, or has broken.
            ValueError: what came is no answer.
        """
        try:
            self._send("GET", path, {"Accept": "text/event-stream"})
            status, fields = self._read_head()
        except (OSError, ValueError):
            self.close()
            raise
        self._open().settimeout(None)
        return status, self._lines(fields)

    def close(self) -> None:
        """Close it; the next request opens it anew."""
        if self._socket is not None:
            self._answers.close()
            self._socket.close()
            self._socket = None

    def _open(self) -> socket.socket:
        if self._socket is None:
            opened = socket.create_connection(self._address, TIMEOUT)
            # A server that has gone without a word, or has given this side up while the network
            # was cut, is noticed after half a minute. By themselves systems take two hours.
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in _KEEPALIVE:
                opened.setsockopt(socket.IPPROTO_TCP, option, value)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls:
                opened = ssl.create_default_context().wrap_socket(
                    opened, server_hostname=self._address[0]
                )
            self._socket = opened
            self._answers: BinaryIO = opened.makefile("rb")
        return self._socket

    def _send(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> None:
        fields = {**self._headers, **headers}
        if body:
            fields |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {fields[name]}" for name in fields)]
        # An id with a line break in it must not end its header.
        head = "".join(line.translate({10: " ", 13: " "}) + "\r\n" for line in lines)
        self._open().sendall(head.encode() + b"\r\n" + body)

    def _read_head(self) -> tuple[int, dict[bytes, bytes]]:
        _, status, *_ = self._read_line().split(maxsplit=2)
        fields = {}
        while line := self._read_line():
            name, _, value = line.partition(b":")
            fields[name.lower()] = value.strip()
        return int(status), fields

    def _read_body(self, fields: dict[bytes, bytes]) -> Iterator[bytes]:
        if fields.get(b"transfer-encoding") != b"chunked":
            yield self._read(int(fields.get(b"content-length", b"0")))
            return
        while size := int(self._read_line(), 16):
            yield self._read(size)
            self._read_line()
        self._read_line()

    def _lines(self, fields: dict[bytes, bytes]) -> Iterator[bytes]:
        rest = b""
        for part in self._read_body(fields):
            *lines, rest = (rest + part).split(b"\n")
            yield from lines

    def _read_line(self) -> bytes:
        line = self._answers.readline()
        if not line.endswith(b"\n"):
            raise ConnectionError("The server has closed the connection.")
        return line.rstrip()

    def _read(self, size: int) -> bytes:
        data = self._answers.read(size)
        if len(data) < size:
            raise ConnectionError("The server has closed the connection.")
        return data
