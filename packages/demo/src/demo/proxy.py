"""A proxy in front of the server that reports each step of the protocol, and can drop it."""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack, suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse
from http.server import BaseHTTPRequestHandler
from socket import SHUT_RDWR, socket
from socketserver import ThreadingTCPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

    type Listener = Callable[[str, str, str], bool]

# The word for each state that a request can give a promise.
SETTLE = {"RESOLVED": "resolve", "REJECTED": "reject", "REJECTED_CANCELED": "cancel"}


class Proxy(ExitStack):
    """Forwards HTTP between the processes of a cluster and its server.

    Each process has its own port, so the proxy knows which process sends a request. Every request
    gets its own connection.

    It is a context manager. On exit, it waits until the processes have closed their connections.

    Attributes:
        ports: the server's two ports, for the API and for messages. Set them before the first
            request.
        lock: held at each step, so that only one step happens at a time.

    Args:
        listener: called at each step with its name, such as `resolve factorial-2`, with the name of
            the process that sends the request or receives the message, and with `before` for a
            request or a message or `after` for an answer. If it returns False, the proxy drops that
            and closes the connection.
    """

    def __init__(self, listener: Listener) -> None:
        super().__init__()
        self.ports = (0, 0)
        self.lock = threading.Lock()
        self.listener = listener

    def port_for(self, party: str) -> int:
        """Open a port for a process. It stands for both of the server's ports."""
        server = self.enter_context(_Server(self, party))
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
        self.callback(server.shutdown)
        return int(server.server_address[1])


class _Server(ThreadingTCPServer):
    request_queue_size = 100

    def __init__(self, proxy: Proxy, party: str) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.proxy = proxy
        self.party = party

    def passes(self, step: str | None, moment: str) -> bool:
        with self.proxy.lock:
            return step is None or self.proxy.listener(step, self.party, moment)


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # the SDK reads only a chunked stream message by message
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        step = _step_of(self.command, self.path, body)
        if self.server.passes(step, "before"):
            with suppress(OSError, HTTPException):  # the process or the server was killed
                self._forward(step, body)
        self.close_connection = True

    do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815 - the base class's names

    def log_message(self, *_: Any) -> None:
        pass

    def _forward(self, step: str | None, body: bytes) -> None:
        is_api = self.path.startswith(("/promises", "/tasks", "/schedules"))
        server = HTTPConnection("127.0.0.1", self.server.proxy.ports[not is_api])
        try:
            server.connect()
            stream: socket = server.sock
            server.request(self.command, self.path, body, dict(self.headers))
            answer = server.getresponse()
            if answer.getheader("content-type", "").startswith("text/event-stream"):
                self._send_head(answer, "transfer-encoding", "chunked")
                self._forward_messages(answer, stream)
                return
            content = answer.read()
            if self.server.passes(step, "after"):
                self._send_head(answer, "connection", "close")
                self.wfile.write(content)
        finally:
            server.close()

    def _send_head(self, answer: HTTPResponse, header: str, value: str) -> None:
        self.send_response_only(answer.status)
        self.send_header("content-type", answer.getheader("content-type", ""))
        self.send_header(header, value)
        self.end_headers()

    def _forward_messages(self, answer: HTTPResponse, stream: socket) -> None:
        """Forward each message as it comes, until one side closes its connection."""
        watcher = threading.Thread(target=self._close_with_process, args=(stream,))
        watcher.start()
        message = b""
        try:
            while line := answer.readline():
                message += line
                if not line.strip():
                    if not self.server.passes(_step_of_message(message), "before"):
                        break
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(message), message))
                    message = b""
        finally:
            with suppress(OSError):
                self.connection.shutdown(SHUT_RDWR)
            watcher.join()

    def _close_with_process(self, stream: socket) -> None:
        """Let the server know at once that the process has ended."""
        with suppress(OSError):
            self.connection.recv(1)
            stream.shutdown(SHUT_RDWR)


def _step_of(method: str, path: str, body: bytes) -> str | None:
    """Name a request. None stands for one that changes nothing, like a search, or a heartbeat."""
    content = json.loads(body) if body else {}
    match method, unquote(urlsplit(path).path).split("/", 3)[1:]:
        case "POST", ["promises"] | ["promises", "task"]:
            return f"create {content.get('promise', content)['id']}"
        case "POST", ["promises", "callback" | "subscribe" as verb, promise]:
            return f"{verb} {promise}"
        case "PATCH", ["promises", *promise]:
            return f"{SETTLE[content['state']]} {'/'.join(promise)}"
        case "POST", ["tasks", "claim"]:
            return f"claim {_root(content['id'])}"
        case "POST", ["tasks", "complete"]:
            return f"complete task {_root(content['id'])}"
    return None


def _step_of_message(event: bytes) -> str | None:
    """Name a server-sent event: `invoke`, `resume` or `notify`. None stands for a comment."""
    if not event.startswith(b"data:"):
        return None
    message = json.loads(event.removeprefix(b"data:"))
    if message["type"] == "notify":
        return f"notify {message['promise']['id']}"
    return f"{message['type']} {_root(message['task']['id'])}"


def _root(task: str) -> str:
    """Read the id of the promise whose function a task runs, from the task's id."""
    return task.split(":")[1]
