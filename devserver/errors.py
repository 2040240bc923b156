"""The errors of the protocol, and the answers that carry them, in the words of the real server."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Literal

import msgspec
from starlette.responses import Response

JSON = "application/json; charset=utf-8"


class Code(IntEnum):
    """An error code of the protocol. Its first three digits are the HTTP status."""

    INVALID = 40000
    UNAUTHORIZED = 40100
    FORBIDDEN = 40300
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
    TASK_PRECONDITION = 41200
    STORE = 50004
    # These two are not in the protocol: the real server does not limit bodies.
    REQUEST_SLOW = 40800
    REQUEST_LARGE = 41300

    @property
    def status(self) -> int:
        """The HTTP status that carries this error."""
        return self // 100


MESSAGES = {
    Code.INVALID: "The request is invalid",
    Code.UNAUTHORIZED: "The request is unauthorized",
    Code.FORBIDDEN: "The request is forbidden",
    Code.PROMISE_RESOLVED: "The promise has already been resolved",
    Code.PROMISE_REJECTED: "The promise has already been rejected",
    Code.PROMISE_CANCELED: "The promise has already been canceled",
    Code.PROMISE_TIMEDOUT: "The promise has already timedout",
    Code.TASK_CLAIMED: "The task is already claimed",
    Code.TASK_COMPLETED: "The task is already completed",
    Code.TASK_COUNTER: "The task counter is invalid",
    Code.TASK_STATE: "The task state is invalid",
    Code.PROMISE_NOT_FOUND: "The specified promise was not found",
    Code.SCHEDULE_NOT_FOUND: "The specified schedule was not found",
    Code.TASK_NOT_FOUND: "The specified task was not found",
    Code.PROMISE_EXISTS: "The specified promise already exists",
    Code.SCHEDULE_EXISTS: "The specified schedule already exists",
    Code.TASK_PRECONDITION: "The task precondition failed",
    Code.STORE: "There was an error in the store subsystem",
    Code.REQUEST_SLOW: "The request took too long to arrive",
    Code.REQUEST_LARGE: "The request is too large",
}

_NOT_RETRYABLE = "Request errors are not retryable since they are caused by invalid client requests"


class ProtocolError(Exception):
    """A request that the server answers with an error.

    Args:
        code: the error.
        details: what exactly is wrong, one entry for each mistake. Empty if the code says
            everything.
        domain: `server` if the server found the mistake only after it had read the request.
    """

    def __init__(
        self, code: Code, *details: str, domain: Literal["request", "server"] = "request"
    ) -> None:
        super().__init__(MESSAGES[code])
        self.code = code
        self.details = details
        self.domain = domain

    def body(self) -> dict[str, Any]:
        """Return the JSON object that describes the error, as in the real server's `error.go`."""
        if self.domain == "server":
            kind = "ServerError"
        elif self.code == Code.INVALID:
            kind = "FieldValidationError"
        else:
            kind = "RequestError"
        details = [
            {
                "@type": kind,
                "message": message,
                "domain": self.domain,
                "metadata": {"url": f"https://docs.resonatehq.io/operate/errors#{self.code}"},
            }
            for message in self.details or (_NOT_RETRYABLE,)
        ]
        return {"code": self.code, "message": str(self), "details": details}


def refuse(error: ProtocolError) -> Response:
    """Create the response that carries an error."""
    content = msgspec.json.encode({"error": error.body()})
    return Response(content, error.code.status, media_type=JSON)
