"""Send a sequence of requests to a server, and make its answers comparable."""

from __future__ import annotations

import queue
import re
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx

from tests.listener import Listener

if TYPE_CHECKING:
    from tests.programs import Server

    type Step = dict[str, Any]

# How long a message may take (seconds). The real server checks timers and leases once a second.
MESSAGE_TIMEOUT = 5.0
# How long to wait for a message that should not come (seconds).
SILENCE = 1.5

TIMES = {"timeout", "createdOn", "completedOn"}
# Those that a request can set, and those that depend on the day.
GIVEN_TIMES = {"timeout", "completedOn"}
RUN_TIMES = {"lastRunTime", "nextRunTime"}
# Milliseconds since the epoch within a text, as in the id of a schedule's promise.
TIMESTAMP = re.compile(r"(?<!\d)1[5-9]\d{11}(?!\d)")


def play(steps: list[Step], server: Server) -> list[Any]:
    """Play the steps, one after the other.

    Args:
        steps: each with one key. `send` is method, path, headers and body: in paths and bodies,
            `@+n` stands for n ms after the begin, and `<cursor>` for the last cursor. `listen`,
            `receive`, `silence` and `close` name a stream as `group/id`. `wait` and
            `settle` are in seconds. A stream whose name begins with `/poll/` is opened on the
            port of the API.
        server: the server.

    Returns:
        An answer for each step: status and body, a message, or None. Of a redirection, the body
        is the location; of an error, it is only the code, because each server has its own words.
    """
    with ExitStack() as stack:
        player = _Player(stack, server)
        return [player.take(*next(iter(step.items()))) for step in steps]


class _Player:
    def __init__(self, stack: ExitStack, server: Server) -> None:
        self._stack = stack
        self._server = server
        self._client = stack.enter_context(httpx.Client(base_url=server.url, timeout=30))
        self._streams: dict[str, tuple[Listener, queue.SimpleQueue[Any]]] = {}
        self._begin = time.time_ns() // 1_000_000
        self._offsets: set[int] = set()
        self._cursor = ""

    def take(self, kind: str, argument: Any) -> Any:
        match kind:
            case "send":
                return self._send(*argument)
            case "wait":
                time.sleep(argument)
            case "settle":
                # The real server may finish the effects of a request during the next one.
                self._client.get("/promises/settle")
                time.sleep(argument)
            case "listen":
                self._listen(argument)
            case "receive":
                return self._comparable(self._streams[argument][1].get(timeout=MESSAGE_TIMEOUT))
            case "silence":
                try:
                    return self._comparable(self._streams[argument][1].get(timeout=SILENCE))
                except queue.Empty:
                    return None
            case "close":
                self._streams.pop(argument)[0].close()
        return None

    def _send(self, method: str, path: str, headers: dict[str, str], body: Any) -> Any:
        path = path.replace("<cursor>", self._cursor)
        # Quote only the characters that a request line cannot have.
        raw_path = quote(path, safe="/?=&%*[]'.:~!$()+,;@").encode()
        url = httpx.URL(self._server.url).copy_with(raw_path=raw_path)
        head = [(name.encode(), value.encode()) for name, value in headers.items()]
        if isinstance(body, str):
            response = self._client.request(method, url, headers=head, content=body.encode())
        else:
            content = None if body is None else self._with_times(body)
            response = self._client.request(method, url, headers=head, json=content)
        if response.has_redirect_location:
            return [response.status_code, response.headers["location"]]
        try:
            answer = response.json()
        except ValueError:
            answer = None  # an empty body, or plain text
        if isinstance(answer, dict):
            self._cursor = answer.get("cursor") or self._cursor
            if "error" in answer:
                answer = {"error": answer["error"]["code"]}
        return [response.status_code, self._comparable(answer)]

    def _listen(self, name: str) -> None:
        if name.startswith("/poll/"):
            url, group_and_id = f"{self._server.url}/poll", name.removeprefix("/poll/")
        else:
            url, group_and_id = self._server.poll_url, name
        listener = Listener(url, *group_and_id.split("/", 1))
        self._stack.callback(listener.close)
        messages: queue.SimpleQueue[Any] = queue.SimpleQueue()

        def read() -> None:
            try:
                while message := listener.next():
                    messages.put(message)
            except (httpx.HTTPError, RuntimeError):
                pass  # closed by the test
            messages.put("end")

        threading.Thread(target=read, daemon=True).start()
        self._streams[name] = listener, messages

    def _with_times(self, value: Any) -> Any:
        match value:
            case dict():
                return {key: self._with_times(item) for key, item in value.items()}
            case str() if re.fullmatch(r"@[+-]\d+", value):
                self._offsets.add(int(value[1:]))
                return self._begin + int(value[1:])
            case _:
                return value

    def _comparable(self, value: Any, key: str = "") -> Any:
        match value:
            case dict():
                return {
                    name: self._comparable(item, name)
                    for name, item in value.items()
                    if not self._is_excused(name, value)
                }
            case list():
                return [self._comparable(item) for item in value]
            case int() if key in GIVEN_TIMES and value - self._begin in self._offsets:
                return f"@{value - self._begin:+d}"
            case int() if key in RUN_TIMES:
                return "<time>"
            case int() if key in TIMES and abs(value - self._begin) < 120_000:
                return "<time>"
            case str() if key == "cursor":
                return "<cursor>"
            case str():
                return TIMESTAMP.sub("<time>", value.replace(self._server.url, "<url>"))
            case _:
                return value

    @staticmethod
    def _is_excused(name: str, value: dict[str, Any]) -> bool:
        """Tell whether a field differs on purpose, because the real server leaves it empty."""
        # The root promise of a callback.
        callback = name == "rootPromiseId" and "promiseId" in value
        # Most fields of a schedule that a search finds.
        schedule = name in {"promiseId", "promiseTimeout", "promiseParam", "promiseTags", "desc"}
        return callback or (schedule and "cron" in value)
