"""The values of the protocol, and their form in JSON.

In JSON the field names are camelCase and empty fields are left out. msgspec encodes `bytes` as
base64. Times are milliseconds since the epoch.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated

import msgspec

# The integers that both SQLite and the protocol can store.
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Ttl = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
# The longest id and search pattern, and the largest tags (characters). They keep every step short.
MAX_ID, MAX_PATTERN, MAX_TAGS = 8_192, 1_024, 65_536
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID)]

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def check_id(text: str) -> None:
    """Check an id that a request creates.

    Raises:
        ValueError: it is too long, or has control characters, which the SDK cannot put into the
            header of a request.
    """
    if len(text) > MAX_ID:
        raise ValueError(f"an id can have at most {MAX_ID} characters")
    if _CONTROL.search(text):
        raise ValueError("an id cannot have control characters")


def _check_tags(*all_tags: dict[str, str]) -> None:
    size = sum(len(key) + len(value) for tags in all_tags for key, value in tags.items())
    if size > MAX_TAGS:
        raise ValueError(f"the tags can have at most {MAX_TAGS} characters")


def _check_receiver(receiver: msgspec.Raw) -> None:
    if len(bytes(receiver)) > MAX_ID:
        raise ValueError(f"recv can have at most {MAX_ID} bytes")


class PromiseState(StrEnum):
    """The state of a promise. It leaves PENDING once, and then never changes."""

    PENDING = "PENDING"
    RESOLVED = "RESOLVED"
    REJECTED = "REJECTED"
    CANCELED = "REJECTED_CANCELED"
    TIMEDOUT = "REJECTED_TIMEDOUT"


class TaskState(StrEnum):
    """The state of a task. A task is *out* while a process has it: enqueued or claimed.

    BLOCKED and PARKED are not in the real server, which tries to send such a task again and again.
    """

    INIT = "INIT"  # ready to be sent, or waiting for a delay
    BLOCKED = "BLOCKED"  # another task of its root is out
    PARKED = "PARKED"  # no connection can take it
    ENQUEUED = "ENQUEUED"  # sent and not yet claimed
    CLAIMED = "CLAIMED"  # a process has claimed it and has a lease
    COMPLETED = "COMPLETED"
    TIMEDOUT = "TIMEDOUT"


class Value(msgspec.Struct, frozen=True, omit_defaults=True):
    """A promise's parameter or its result: headers, and data that the server does not read."""

    headers: dict[str, str] = {}
    data: bytes = b""


class Promise(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A durable promise."""

    id: str
    state: PromiseState
    param: Value
    value: Value
    timeout: int
    idempotency_key_for_create: str | None = None
    idempotency_key_for_complete: str | None = None
    tags: dict[str, str] = {}
    created_on: int | None = None
    completed_on: int | None = None


class Callback(msgspec.Struct, frozen=True, rename="camel"):
    """A function to resume, or an address to notify, when a promise is complete."""

    id: str
    promise_id: str
    root_promise_id: str
    timeout: int
    created_on: int


class Task(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A task, as messages and answers show it: one step of the function of its root promise."""

    id: str
    counter: int
    timeout: int
    root_promise_id: str
    process_id: str | None = None
    created_on: int | None = None
    completed_on: int | None = None


class Schedule(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A cron expression, and the promise that the server creates at each of its times."""

    id: str
    cron: str
    tags: dict[str, str]
    promise_id: str
    promise_timeout: int
    promise_param: Value
    next_run_time: int
    created_on: int
    description: str = msgspec.field(default="", name="desc")
    promise_tags: dict[str, str] = {}
    last_run_time: int | None = None
    idempotency_key: str | None = None


# Requests


class CreatePromise(msgspec.Struct, frozen=True, rename="camel"):
    """The body of `POST /promises`."""

    id: Name
    param: Value = Value()
    timeout: Int64 = 0
    tags: dict[str, str] = {}

    def __post_init__(self) -> None:
        check_id(self.id)
        _check_tags(self.tags)


class TaskClaimer(msgspec.Struct, frozen=True, rename="camel"):
    """The process that claims the task of the promise that it creates; `ttl` is the lease in ms."""

    process_id: Name
    ttl: Ttl = 0


class CreatePromiseAndTask(msgspec.Struct, frozen=True, rename="camel"):
    """The body of `POST /promises/task`."""

    promise: CreatePromise
    task: TaskClaimer


class CompletePromise(msgspec.Struct, frozen=True, rename="camel"):
    """The body of `PATCH /promises/{id}`; `state` is RESOLVED, REJECTED or REJECTED_CANCELED."""

    state: str
    value: Value = Value()

    def __post_init__(self) -> None:
        if self.completed_state not in {"RESOLVED", "REJECTED", "REJECTED_CANCELED"}:
            raise ValueError("the state must be RESOLVED, REJECTED or REJECTED_CANCELED")

    @property
    def completed_state(self) -> str:
        """The state, which may be written in lower case."""
        return self.state.upper()


class CreateCallback(msgspec.Struct, frozen=True, rename="camel"):
    """The body of `POST /promises/callback/{id}`; `promise_id` is for `POST /callbacks`."""

    root_promise_id: Name
    recv: msgspec.Raw
    timeout: Int64 = 0
    promise_id: str = ""

    def __post_init__(self) -> None:
        check_id(self.root_promise_id)
        _check_receiver(self.recv)


class CreateSubscription(msgspec.Struct, frozen=True, rename="camel"):
    """The body of `POST /promises/subscribe/{id}`; `promise_id` is for `POST /subscriptions`."""

    id: Name
    recv: msgspec.Raw
    timeout: Int64 = 0
    promise_id: str = ""

    def __post_init__(self) -> None:
        check_id(self.id)
        _check_receiver(self.recv)


class TaskRef(msgspec.Struct, frozen=True, rename="camel"):
    """The body of `POST /tasks/complete` and `POST /tasks/drop`."""

    id: Name
    counter: Int64


class ClaimTask(TaskRef, frozen=True, rename="camel", kw_only=True):
    """The body of `POST /tasks/claim`; `ttl` is the lease in ms."""

    process_id: Name
    ttl: Ttl = 0


class Heartbeat(msgspec.Struct, frozen=True, rename="camel"):
    """The body of `POST /tasks/heartbeat`."""

    process_id: Name


class Search(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A search for promises or schedules. A cursor holds one, with the place to continue at.

    Args:
        id: a pattern. `*` stands for any text.
        tags: the tags that a result must have.
        limit: the most results.
        states: the states that a promise may have. A search for schedules ignores them.
        before: only results that were created before the one with this `sort_id`.
    """

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_PATTERN)]
    tags: dict[str, str]
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)]
    states: list[PromiseState]
    before: Int64 = 2**63 - 1

    def __post_init__(self) -> None:
        _check_tags(self.tags)


class CreateSchedule(msgspec.Struct, frozen=True, rename="camel"):
    """The body of `POST /schedules`.

    `promise_id` is a template: `{{.id}}` stands for the schedule's id, and `{{.timestamp}}` for
    the time of the run. `promise_timeout` counts from the time of the run.
    """

    id: Name
    cron: Name
    promise_id: Name
    description: str = msgspec.field(default="", name="desc")
    tags: dict[str, str] = {}
    promise_timeout: Int64 = 0
    promise_param: Value = Value()
    promise_tags: dict[str, str] = {}

    def __post_init__(self) -> None:
        check_id(self.id)
        check_id(self.promise_id)
        _check_tags(self.tags, self.promise_tags)
