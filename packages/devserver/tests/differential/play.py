"""Send a sequence of requests to a server, and make its answers comparable."""

from __future__ import annotations

import json
import re
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx

from tests.listener import Listener

if TYPE_CHECKING:
    from tests.programs import Server

    type Step = dict[str, Any]

FOLDER = Path(__file__).with_name("recorded")
NAMES = sorted(path.stem for path in FOLDER.glob("*.jsonl"))

AN_HOUR = 3_600_000
# The times that a request can set, those of an event, and those that depend on the day.
GIVEN_TIMES = {"timeout", "completedOn"}
EVENT_TIMES = {"timeout", "createdOn", "completedOn"}
RUN_TIMES = {"lastRunTime", "nextRunTime"}
# Milliseconds since the epoch within a text, as in the id of a schedule's promise.
TIMESTAMP = re.compile(r"(?<!\d)1[5-9]\d{11}(?!\d)")


def file_of(name: str) -> Path:
    """Return the file of a recorded sequence."""
    return FOLDER / f"{name}.jsonl"


def read(name: str) -> tuple[list[Step], list[Any]]:
    """Read the steps of a recorded sequence, and the real server's answer to each."""
    text = file_of(name).read_text(encoding="utf-8")
    pairs = [json.loads(line) for line in text.splitlines()]
    return [step for step, _ in pairs], [answer for _, answer in pairs]


def play(steps: list[Step], server: Server) -> list[Any]:
    """Play the steps, one after the other.

    Args:
        steps: each with one key. `send` is method, path, headers and body: in bodies, `@+n` stands
            for n ms after the begin, and in paths, `<cursor>` for the last cursor. `listen` and
            `receive` name a stream as `group/id`, or as `/poll/group/id` on the port of the API.
            `wait` is in seconds; so is `settle`, which only the real server needs.
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
        self._listeners: dict[str, Listener] = {}
        self._begin = time.time_ns() // 1_000_000
        self._offsets: set[int] = set()
        self._cursor = ""

    def take(self, kind: str, argument: Any) -> Any:
        match kind:
            case "send":
                return self._send(*argument)
            case "listen":
                on_api_port = argument.startswith("/poll/")
                url = f"{self._server.url}/poll" if on_api_port else self._server.poll_url
                listener = Listener(url, *argument.removeprefix("/poll/").split("/", 1))
                self._listeners[argument] = self._stack.enter_context(listener)
            case "receive":
                return self._comparable(self._listeners[argument].next())
            case "wait":
                time.sleep(argument)
            case "settle" if self._server.is_real:
                # The real server may finish the effects of a request during the next one.
                self._client.get("/promises/settle")
                time.sleep(argument)
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
                    if not _is_excused(name, value)
                }
            case list():
                return [self._comparable(item) for item in value]
            case int() if key in GIVEN_TIMES and value - self._begin in self._offsets:
                return f"@{value - self._begin:+d}"
            case int() if key in RUN_TIMES:
                return "<time>"
            case int() if key in EVENT_TIMES and abs(value - self._begin) < AN_HOUR:
                return "<time>"
            case str() if key == "cursor":
                return "<cursor>"
            case str():
                return TIMESTAMP.sub("<time>", value.replace(self._server.url, "<url>"))
            case _:
                return value


def _is_excused(name: str, value: dict[str, Any]) -> bool:
    """Tell whether a field differs on purpose, because the real server leaves it empty."""
    # The root promise of a callback.
    callback = name == "rootPromiseId" and "promiseId" in value
    # Most fields of a schedule that a search finds.
    schedule = name in {"promiseId", "promiseTimeout", "promiseParam", "promiseTags", "desc"}
    return callback or (schedule and "cron" in value)
