"""The server's record of a run: each call's attempts, read from the stream `GET /watch`."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

type Kind = Literal["claimed", "waits", "sleeps", "queued", "sent", "orphan"]


@dataclass(frozen=True)
class Segment:
    """A part of a call's lane. Times are seconds since the first call was created.

    Args:
        kind: claimed: a worker runs the call. waits, sleeps: the call is stored. queued, sent: it
            waits for a worker. orphan: its last worker died, and no worker has claimed it yet.
        begin: when it begins.
        end: when it ends.
        process: the process that runs the call, or ran it last.
    """

    kind: Kind
    begin: float
    end: float
    process: str | None


@dataclass
class Lane:
    """What happened to one call.

    Args:
        id: the promise's id.
        segments: its segments, in order.
        takeovers: when another process took it over, and which one.
        value: the beginning of its value.
    """

    id: str
    segments: list[Segment] = field(default_factory=list)
    takeovers: list[tuple[float, str]] = field(default_factory=list)
    value: str = ""


@dataclass
class Facts:
    """A finished run.

    Args:
        lanes: one for each call, in the order of creation.
        deaths: when each process that did not reconnect had disconnected, by its id.
        outages: when the server was down, from and until.
        took: when the first call was finished.
    """

    lanes: list[Lane]
    deaths: dict[str, float]
    outages: list[tuple[float, float]]
    took: float


def read(url: str) -> Facts:
    """Read a run from a devserver.

    Args:
        url: the URL of its API.

    Raises:
        OSError: the server does not answer.
    """
    with urllib.request.urlopen(f"{url}/watch", timeout=10) as stream:  # noqa: S310 - our server
        line = next(line for line in stream if line.startswith(b"data: "))
    return parse(json.loads(line.removeprefix(b"data: ")))


def parse(event: dict[str, Any]) -> Facts:
    """Read the facts from the first event of a stream."""
    promises = [promise for promise in event.get("promises", []) if "timeout" not in promise]
    first = promises[0]["createdOn"] if promises else 0

    def seconds(ms: int) -> float:
        return (ms - first) / 1000

    deaths: dict[str, float] = {}
    outages = []
    for one in event.get("events", []):
        match one["type"]:
            case "disconnected":
                deaths[one["processId"]] = seconds(one["createdOn"])
            case "connected":
                deaths.pop(one["processId"], None)
            case "started" if "activeUntil" in one:
                outages.append((seconds(one["activeUntil"]), seconds(one["createdOn"])))
    attempts = _attempts(event)
    lanes = []
    for promise in promises:
        lane = Lane(promise["id"], value=promise.get("value", ""))
        end = promise.get("completedOn", event["now"])
        span = (promise["createdOn"], end)
        _fill(lane, span, attempts.get(promise["id"], []), deaths, seconds)
        lanes.append(lane)
    took = seconds(promises[0].get("completedOn", event["now"])) if promises else 0
    return Facts(lanes, deaths, outages, took)


def _attempts(event: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """List the attempts at each promise, in order."""
    lost: dict[int, list[dict[str, Any]]] = {}
    for attempt in event.get("attempts", []):
        lost.setdefault(attempt["task"], []).append(attempt)
    found: dict[str, list[dict[str, Any]]] = {}
    for task in event.get("tasks", []):
        of_promise = found.setdefault(task["rootPromiseId"], [])
        available = task["createdOn"]
        for attempt in lost.get(task["sortId"], []):
            of_promise.append({"isTimer": False} | task | attempt | {"availableOn": available})
            available = attempt["endedOn"]
        # If a promise is completed before the server sends its task, the task has no attempt.
        if "processId" in task:
            last = {"isTimer": False} | task | {"availableOn": available}
            of_promise.append(last | {"endedOn": task.get("completedOn")})
    for of_promise in found.values():
        of_promise.sort(key=lambda it: it.get("claimedOn") or it.get("sentOn") or it["availableOn"])
    return found


def _fill(
    lane: Lane,
    span: tuple[int, int],
    attempts: list[dict[str, Any]],
    deaths: dict[str, float],
    seconds: Callable[[int], float],
) -> None:
    at, end = span
    holder: str | None = None

    def add(kind: Kind, until: int | None, process: str | None) -> None:
        nonlocal at
        until = end if until is None else min(until, end)
        if until <= at:
            return
        died = deaths.get(holder) if holder and kind != "claimed" else None
        split = seconds(until) if died is None else min(max(died, seconds(at)), seconds(until))
        if split > seconds(at):
            lane.segments.append(Segment(kind, seconds(at), split, process))
        if split < seconds(until):
            lane.segments.append(Segment("orphan", split, seconds(until), holder))
        at = until

    for attempt in attempts:
        claimed, ended = attempt.get("claimedOn"), attempt.get("endedOn")
        process = attempt["processId"]
        add("sleeps" if attempt["isTimer"] else "waits", attempt["availableOn"], holder)
        add("queued", attempt.get("sentOn", claimed or ended), None)
        add("sent", claimed or ended, process)
        if claimed is not None:
            if holder not in (None, process):
                lane.takeovers.append((seconds(claimed), process))
            holder = process
            add("claimed", ended, process)
    add("waits", end, holder)
