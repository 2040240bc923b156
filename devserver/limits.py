"""The limits of an HTTP connection, which uvicorn does not have.

uvicorn does not limit the size of a request's head or the time that it takes to arrive. It also
keeps an answer for a client that does not read. `requests.py` limits the size and the time of a
body.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, override

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio

# The largest head: the first line and the headers, and the trailers of a chunked body (bytes).
# Proxies and other servers allow 8 to 64 KiB.
MAX_HEAD = 64 * 2**10
# How long a head may take to arrive (seconds).
HEAD_TIMEOUT = 10.0
# How long a client may read nothing of what is sent to it (seconds).
READ_TIMEOUT = 30.0
# The extension of an ASGI scope in which `flush` is `LimitedProtocol.flush`, and `is_complete` says
# whether the whole request has arrived.
EXTENSION = "devserver"


class LimitedProtocol(HttpToolsProtocol):
    """A connection that closes if its client sends too much, or sends or reads too slowly."""

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_size = 0
        # How many bytes of one line have arrived: httptools reports complete lines only.
        self._line_size = 0
        self._progressed = False
        self._in_head = False
        self._in_body = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._read_timer: asyncio.TimerHandle | None = None
        self._start_head_timer()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_timer()
        self._stop_read_timer()
        super().connection_lost(exc)

    async def flush(self) -> bool:
        """Wait until the operating system has taken everything that was written.

        Returns:
            False if the connection has closed, so that some of it may be lost.
        """
        if not self.transport.is_closing():
            self.transport.set_write_buffer_limits(high=0)
            await self.flow.drain()
        return not self.transport.is_closing()

    # Sending too much

    @override
    def data_received(self, data: bytes) -> None:
        self._progressed = False
        super().data_received(data)
        if self._progressed:
            self._line_size = 0
        else:
            self._line_size += len(data)
            if self._line_size > MAX_HEAD:
                self._refuse()
        # A client may owe a head, or the end of the line that begins one.
        if self._head_timer is None and (self._in_head or not (self._progressed or self._in_body)):
            self._start_head_timer()

    @override
    def on_message_begin(self) -> None:
        self._progressed = True
        self._in_head = True
        self._head_size = 0
        super().on_message_begin()
        self.scope["extensions"] = {EXTENSION: {"flush": self.flush, "is_complete": False}}

    @override
    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    @override
    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        super().on_header(name, value)

    @override
    def on_headers_complete(self) -> None:
        self._in_head = False
        self._in_body = True
        self._stop_head_timer()
        super().on_headers_complete()

    @override
    def on_body(self, body: bytes) -> None:
        self._progressed = True
        super().on_body(body)

    @override
    def on_message_complete(self) -> None:
        self._progressed = True
        self.scope["extensions"][EXTENSION]["is_complete"] = True
        self._in_body = False
        self._stop_head_timer()
        super().on_message_complete()

    @override
    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._in_body and self.cycle.response_complete:
            # The rest of the body is not read, so its own time limit does not apply.
            self._start_head_timer()

    def _count(self, size: int) -> None:
        self._progressed = True
        self._head_size += size
        if self._head_size > MAX_HEAD:
            raise ValueError("the head is too large")  # httptools makes an HttpParserError of it

    @override
    def send_400_response(self, msg: str) -> None:
        if self._head_size > MAX_HEAD:
            self._refuse()
        else:
            super().send_400_response(msg)

    def _refuse(self) -> None:
        if not self.transport.is_closing():
            head = b"content-length: 0\r\nconnection: close\r\n\r\n"
            self.transport.write(STATUS_LINE[431] + head)
            self.transport.close()

    # Sending too slowly

    def _start_head_timer(self) -> None:
        self._stop_head_timer()
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT, self.transport.close)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    # Reading too slowly

    @override
    def pause_writing(self) -> None:
        super().pause_writing()
        self._start_read_timer()

    @override
    def resume_writing(self) -> None:
        self._stop_read_timer()
        super().resume_writing()

    def _start_read_timer(self) -> None:
        self._stop_read_timer()
        unread = self.transport.get_write_buffer_size()
        self._read_timer = self.loop.call_later(READ_TIMEOUT, self._check_reader, unread)

    def _stop_read_timer(self) -> None:
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

    def _check_reader(self, unread: int) -> None:
        if self.transport.get_write_buffer_size() < unread:
            self._start_read_timer()
        else:
            self.transport.abort()
