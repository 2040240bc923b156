"""The protocol's error codes."""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    """An error as the protocol numbers it; its first three digits are the HTTP status."""

    INVALID = 40000
    UNAUTHORIZED = 40100
    PROMISE_RESOLVED = 40301
    PROMISE_REJECTED = 40302
    PROMISE_CANCELED = 40303
    PROMISE_TIMEDOUT = 40304
    TASK_CLAIMED = 40306
    TASK_COMPLETED = 40307
    TASK_COUNTER = 40308
    TASK_STATE = 40309
    PROMISE_NOT_FOUND = 40400
    SCHEDULE_NOT_FOUND = 40401
    TASK_NOT_FOUND = 40403
    PROMISE_EXISTS = 40900
    SCHEDULE_EXISTS = 40901
    REQUEST_SLOW = 40800
    TASK_PRECONDITION = 41200
    REQUEST_LARGE = 41300
    INTERNAL = 50000

    @property
    def status(self) -> int:
        """The HTTP status that carries this error."""
        return self // 100


MESSAGES = {
    Code.INVALID: "The request is not valid",
    Code.UNAUTHORIZED: "A user name and a password are needed",
    Code.PROMISE_RESOLVED: "The promise is already resolved",
    Code.PROMISE_REJECTED: "The promise is already rejected",
    Code.PROMISE_CANCELED: "The promise is already canceled",
    Code.PROMISE_TIMEDOUT: "The promise has already timed out",
    Code.TASK_CLAIMED: "The task is already claimed",
    Code.TASK_COMPLETED: "The task is already completed",
    Code.TASK_COUNTER: "The task has another counter",
    Code.TASK_STATE: "The task is not claimed",
    Code.PROMISE_NOT_FOUND: "There is no such promise",
    Code.SCHEDULE_NOT_FOUND: "There is no such schedule",
    Code.TASK_NOT_FOUND: "There is no such task",
    Code.PROMISE_EXISTS: "The promise exists already",
    Code.SCHEDULE_EXISTS: "The schedule exists already",
    Code.REQUEST_SLOW: "The request took too long to arrive",
    Code.REQUEST_LARGE: "The request is too large",
    Code.TASK_PRECONDITION: "The task that this was for is no longer the caller's",
    Code.INTERNAL: "The server failed to answer",
}


class ProtocolError(Exception):
    """A request that the protocol answers with an error.

    Args:
        code: which error.
        detail: what exactly was wrong, where the code does not say it all.
    """

    def __init__(self, code: Code, detail: str | None = None) -> None:
        super().__init__(MESSAGES[code])
        self.code = code
        self.detail = detail
