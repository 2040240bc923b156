"""The errors of the protocol."""

from __future__ import annotations

from enum import IntEnum
from typing import Self


class Code(IntEnum):
    """An error code of the protocol, and what it means. Its first three digits are HTTP's."""

    message: str

    def __new__(cls, code: int, message: str) -> Self:
        """Give the code its message."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.message = message
        return member

    INVALID = 40000, "The request is invalid"
    UNAUTHORIZED = 40100, "The request is unauthorized"
    FORBIDDEN = 40300, "The request is forbidden"
    PROMISE_RESOLVED = 40301, "The promise has already been resolved"
    PROMISE_REJECTED = 40302, "The promise has already been rejected"
    PROMISE_CANCELED = 40303, "The promise has already been canceled"
    PROMISE_TIMEDOUT = 40304, "The promise has already timedout"
    TASK_CLAIMED = 40306, "The task is already claimed"
    TASK_COMPLETED = 40307, "The task is already completed"
    TASK_COUNTER = 40308, "The task counter is invalid"
    TASK_STATE = 40309, "The task state is invalid"
    PROMISE_NOT_FOUND = 40400, "The specified promise was not found"
    SCHEDULE_NOT_FOUND = 40401, "The specified schedule was not found"
    TASK_NOT_FOUND = 40403, "The specified task was not found"
    PROMISE_EXISTS = 40900, "The specified promise already exists"
    SCHEDULE_EXISTS = 40901, "The specified schedule already exists"
    TASK_PRECONDITION = 41200, "The task precondition failed"
    STORE = 50004, "There was an error in the store subsystem"
    # Not in the protocol: the real server does not limit bodies.
    REQUEST_LARGE = 41300, "The request is too large"


class ProtocolError(Exception):
    """A request that the server answers with an error.

    Args:
        code: the error.
        detail: what exactly is wrong. Empty if the code says everything.
    """

    def __init__(self, code: Code, detail: str = "") -> None:
        super().__init__(code.message)
        self.code = code
        self.detail = detail
