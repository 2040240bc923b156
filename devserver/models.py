"""The protocol's values, as they stand in JSON.

Field names are camelCase on the wire and empty fields are left out; binary data is
base64, which msgspec does for `bytes`. Times are milliseconds since the epoch.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

import msgspec

# What SQLite and the protocol can hold.
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Ttl = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Name = Annotated[str, msgspec.Meta(min_length=1)]


class PromiseState(StrEnum):
    """Where a promise stands: pending first, then one of the others for good."""

    PENDING = "PENDING"
    RESOLVED = "RESOLVED"
    REJECTED = "REJECTED"
    CANCELED = "REJECTED_CANCELED"
    TIMEDOUT = "REJECTED_TIMEDOUT"


class TaskState(StrEnum):
    """Where a task stands. It is *out* while somebody has it: enqueued or claimed."""

    INIT = "INIT"  # waits to be sent
    ENQUEUED = "ENQUEUED"  # sent, not yet claimed
    CLAIMED = "CLAIMED"  # somebody works on it and holds a lease
    COMPLETED = "COMPLETED"
    TIMEDOUT = "TIMEDOUT"


class Value(msgspec.Struct, frozen=True, omit_defaults=True):
    """A promise's parameter or its result: headers and opaque data."""

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
    """Somebody to tell when a promise is complete."""

    id: str
    promise_id: str
    root_promise_id: str
    timeout: int
    created_on: int


class Task(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A piece of work on a promise, as a message and an answer show it."""

    id: str
    counter: int
    timeout: int
    root_promise_id: str
    process_id: str | None = None
    created_on: int | None = None
    completed_on: int | None = None


# Requests


class CreatePromise(msgspec.Struct, frozen=True, rename="camel"):
    """The body of `POST /promises`."""

    id: Name
    param: Value = Value()
    timeout: Int64 = 0
    tags: dict[str, str] = {}


class TaskClaimer(msgspec.Struct, frozen=True, rename="camel"):
    """Who takes the task of a promise that is created with one, and for how long (ms)."""

    process_id: Name
    ttl: Ttl = 0


class CreatePromiseAndTask(msgspec.Struct, frozen=True, rename="camel"):
    """The body of `POST /promises/task`."""

    promise: CreatePromise
    task: TaskClaimer


class CompletePromise(msgspec.Struct, frozen=True, rename="camel"):
    """The body of `PATCH /promises/{id}`."""

    state: Literal["RESOLVED", "REJECTED", "REJECTED_CANCELED"]
    value: Value = Value()


class CreateCallback(msgspec.Struct, frozen=True, rename="camel"):
    """The body of `POST /promises/callback/{id}`."""

    root_promise_id: Name
    recv: msgspec.Raw
    timeout: Int64 = 0


class CreateSubscription(msgspec.Struct, frozen=True, rename="camel"):
    """The body of `POST /promises/subscribe/{id}`."""

    id: Name
    recv: msgspec.Raw
    timeout: Int64 = 0


class ClaimTask(msgspec.Struct, frozen=True, rename="camel"):
    """The body of `POST /tasks/claim`; `ttl` is the lease in ms."""

    id: Name
    counter: Int64
    process_id: Name
    ttl: Ttl = 0


class CompleteTask(msgspec.Struct, frozen=True, rename="camel"):
    """The body of `POST /tasks/complete`."""

    id: Name
    counter: Int64


class Heartbeat(msgspec.Struct, frozen=True, rename="camel"):
    """The body of `POST /tasks/heartbeat`."""

    process_id: Name
