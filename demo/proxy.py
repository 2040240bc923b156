"""A recording proxy between the processes of a cluster and its server.

The proxy opens two ports for each process, in front of the server's two. So it knows which process
sends a request and which process gets a message. It calls a listener at each step of the protocol.
The listener can kill processes at exactly that step, and can make the proxy drop the request, the
answer or the message.
"""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import unquote, urlsplit

import h11

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import AsyncIterator, Callable

    type Moment = Literal["before", "after"]
    type Listener = Callable[[Passage], bool]

# How many bytes to read at most at once.
CHUNK = 65_536
# The diagram's word for each state that a request can give a promise.
SETTLE = {"RESOLVED": "resolve", "REJECTED": "reject", "REJECTED_CANCELED": "cancel"}


@dataclass(frozen=True)
class Passage:
    """A request, an answer or a message on its way through the proxy.

    Args:
        step: the step of the protocol, in the words of the README's sequence diagram, like
            `resolve factorial-2`.
        party: the name of the process that sends the request or receives the message.
        moment: `before` for a request or a message, `after` for an answer.
        is_message: whether it is a message. A message is not answered.
        status: the HTTP status of an answer; 0 for a request or a message.
    """

    step: str
    party: str
    moment: Moment
    is_message: bool = False
    status: int = 0


class Proxy:
    """Forwards HTTP between the processes of a cluster and its server, step by step.

    It is a context manager. On entry, it starts a thread; on exit, it closes every connection.

    Attributes:
        ports: the server's two ports, for the API and for messages; None while the server does
            not run. The proxy then closes every new connection at once.

    Args:
        listener: called at each step, on the proxy's thread, which stops all other traffic. If
            it returns False, the proxy drops the request, answer or message and closes the
            connection.
        pace: how long to hold each step before the listener is called (seconds).
    """

    def __init__(self, listener: Listener, pace: float = 0) -> None:
        self.ports: tuple[int, int] | None = None
        self._listener = listener
        self._pace = pace
        self._loop = asyncio.new_event_loop()
        self._listening: list[asyncio.Server] = []
        self._links: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def ports_for(self, party: str) -> tuple[int, int]:
        """Open two more ports.

        Args:
            party: the name of the process that will use them.

        Returns:
            The ports that stand for the server's API and for its messages.
        """
        opening = asyncio.run_coroutine_threadsafe(self._listen(party), self._loop)
        return opening.result()

    async def _listen(self, party: str) -> tuple[int, int]:
        api, poll = [
            await asyncio.start_server(partial(self._serve, party, index), "127.0.0.1", 0)
            for index in range(2)
        ]
        self._listening += [api, poll]
        return api.sockets[0].getsockname()[1], poll.sockets[0].getsockname()[1]

    async def _serve(
        self, party: str, index: int, reader: StreamReader, writer: StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._links.add(task)
        task.add_done_callback(self._links.discard)
        try:
            if self.ports is None:
                raise ConnectionRefusedError
            server_reader, server_writer = await asyncio.open_connection(
                "127.0.0.1", self.ports[index]
            )
        except OSError:
            writer.transport.abort()
            return
        link = _Link(writer, server_writer, partial(self._passes, party))
        pumps = [
            asyncio.create_task(link.forward_requests(reader)),
            asyncio.create_task(link.forward_answers(server_reader)),
        ]
        try:
            # If one side closes its connection, the proxy closes the other one at once.
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # Close them before anything is awaited: `_close` may cancel this task there, too.
            writer.close()
            server_writer.close()
            for pump in pumps:
                pump.cancel()
        outcomes = await asyncio.gather(*pumps, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception) and not isinstance(outcome, OSError):
                raise outcome

    async def _passes(self, party: str, step: _Step | None, moment: Moment, status: int) -> bool:
        if step is None:
            return True
        if self._pace:
            await asyncio.sleep(self._pace)
        passage = Passage(step.name, party, moment, step.is_message, status)
        return self._listener(passage)

    async def _close(self) -> None:
        self.ports = None
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            for link in self._links:
                link.cancel()
            await asyncio.wait(tasks)
        # Close the servers last: asyncio leaves a connection open if it is being accepted while
        # its server closes.
        for server in self._listening:
            server.close()
        await asyncio.sleep(0)  # in which the transports close their sockets


@dataclass(frozen=True)
class _Step:
    name: str
    is_message: bool = False


class _Link:
    """One connection of a process, and the connection to the server that belongs to it."""

    def __init__(self, process: StreamWriter, server: StreamWriter, passes: Any) -> None:
        self._process = process
        self._server = server
        self._passes = passes
        self._from_process = h11.Connection(h11.SERVER)
        self._from_server = h11.Connection(h11.CLIENT)
        self._step: _Step | None = None

    async def forward_requests(self, reader: StreamReader) -> None:
        """Forward each request once it is complete, until the process closes the connection."""
        request: list[h11.Event] = []
        async for event in _events(self._from_process, reader):
            request.append(event)
            if isinstance(event, h11.EndOfMessage):
                self._step = _step_of(request)
                if not await self._passes(self._step, "before", 0):
                    return
                _write(self._server, self._from_server, request)
                request = []

    async def forward_answers(self, reader: StreamReader) -> None:
        """Forward each answer once it is complete, until the server closes the connection.

        A stream of messages does not end, so the proxy forwards each message as it comes.
        """
        answer: list[h11.Event] = []
        stream: bytes | None = None
        async for event in _events(self._from_server, reader):
            if stream is not None and isinstance(event, h11.Data):
                *messages, stream = (stream + event.data).split(b"\n\n")
                for message in messages:
                    if not await self._passes(_step_of_message(message), "before", 0):
                        return
                    data = h11.Data(data=message + b"\n\n")
                    _write(self._process, self._from_process, [data])
                continue
            answer.append(event)
            if isinstance(event, h11.Response) and _is_stream(event):
                stream = b""
                _write(self._process, self._from_process, answer)
                answer = []
            elif isinstance(event, h11.EndOfMessage):
                if stream is not None:  # the server has ended the stream
                    return
                status = answer[0].status_code if isinstance(answer[0], h11.Response) else 0
                if not await self._passes(self._step, "after", status):
                    return
                _write(self._process, self._from_process, answer)
                answer = []
                if not self._is_reusable():
                    return
                self._from_process.start_next_cycle()
                self._from_server.start_next_cycle()

    def _is_reusable(self) -> bool:
        sides = (self._from_process, self._from_server)
        return all(side.our_state is h11.DONE is side.their_state for side in sides)


async def _events(connection: h11.Connection, reader: StreamReader) -> AsyncIterator[h11.Event]:
    """Parse what arrives on a connection, until the other side closes it."""
    while data := await reader.read(CHUNK):
        connection.receive_data(data)
        while isinstance(event := connection.next_event(), h11.Event):
            yield event


def _write(writer: StreamWriter, connection: h11.Connection, events: list[h11.Event]) -> None:
    writer.write(b"".join(connection.send(event) or b"" for event in events))


def _is_stream(response: h11.Response) -> bool:
    return any(
        name == b"content-type" and value.startswith(b"text/event-stream")
        for name, value in response.headers
    )


def _step_of(request: list[h11.Event]) -> _Step | None:
    """Name the step that a request is.

    Returns:
        None for a request that changes nothing, like a search, and for a heartbeat.
    """
    head = request[0]
    assert isinstance(head, h11.Request)
    body = b"".join(bytes(event.data) for event in request if isinstance(event, h11.Data))
    content = json.loads(body) if body else {}
    _, *parts = unquote(urlsplit(head.target.decode()).path).split("/", 3)
    match head.method, parts:
        case b"POST", ["promises"] | ["promises", "task"]:
            return _Step(f"create {content.get('promise', content)['id']}")
        case b"POST", ["promises", "callback" | "subscribe" as verb, promise]:
            return _Step(f"{verb} {promise}")
        case b"PATCH", ["promises", *promise]:
            return _Step(f"{SETTLE[content['state']]} {'/'.join(promise)}")
        case b"POST", ["tasks", "claim"]:
            return _Step(f"claim {_root(content['id'])}")
        case b"POST", ["tasks", "complete" | "drop" as verb]:
            return _Step(f"{verb} task {_root(content['id'])}")
    return None


def _step_of_message(event: bytes) -> _Step | None:
    """Name the step that a server-sent event is: `invoke`, `resume` or `notify`."""
    if not event.startswith(b"data:"):
        return None
    message = json.loads(event.removeprefix(b"data:"))
    if message["type"] == "notify":
        return _Step(f"notify {message['promise']['id']}", is_message=True)
    return _Step(f"{message['type']} {_root(message['task']['id'])}", is_message=True)


def _root(task: str) -> str:
    """Read the id of the promise whose function a task runs, from the task's id."""
    return task.split(":")[1]
