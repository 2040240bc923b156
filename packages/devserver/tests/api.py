"""Requests to a server's API that many tests send."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

# A time far in the future, in ms since the epoch.
FAR = 4_000_000_000_000


def create(
    api: httpx.Client, promise_id: str, *, key: str | None = None, **fields: object
) -> dict[str, Any]:
    """Create a promise, or find it by its idempotency key.

    Args:
        api: a client whose base URL is the server's.
        promise_id: the promise's id.
        key: the idempotency key.
        fields: other fields of the request: `timeout`, `tags`, `param`.

    Returns:
        The promise.
    """
    headers = {"idempotency-key": key} if key else {}
    body = {"id": promise_id, "timeout": FAR, **fields}
    promise: dict[str, Any] = (
        api.post("/promises", json=body, headers=headers).raise_for_status().json()
    )
    return promise


def invoke(api: httpx.Client, promise_id: str, address: str) -> dict[str, Any]:
    """Create a promise whose task is sent to an address."""
    return create(api, promise_id, tags={"resonate:invoke": address})


def complete(
    api: httpx.Client, promise_id: str, state: str = "RESOLVED", value: str | None = None
) -> dict[str, Any]:
    """Complete a promise, with a text as its value.

    Returns:
        The promise.
    """
    body = {"state": state, "value": {} if value is None else {"data": encoded(value)}}
    promise: dict[str, Any] = (
        api.patch(f"/promises/{promise_id}", json=body).raise_for_status().json()
    )
    return promise


def wait_for(api: httpx.Client, root: str, leaf: str, address: str = "poll://any@workers") -> None:
    """Let the function of the promise `root` be resumed when the promise `leaf` is complete."""
    body = {"rootPromiseId": root, "recv": address, "timeout": FAR}
    api.post(f"/promises/callback/{leaf}", json=body).raise_for_status()


def subscribe(api: httpx.Client, promise_id: str, client: str) -> None:
    """Let a client of the group `clients` be notified when a promise is complete."""
    body = {"id": client, "recv": f"poll://uni@clients/{client}", "timeout": FAR}
    api.post(f"/promises/subscribe/{promise_id}", json=body).raise_for_status()


def complete_task(api: httpx.Client, task: tuple[str, int]) -> httpx.Response:
    """Complete a claimed task, given as its id and counter."""
    return api.post("/tasks/complete", json={"id": task[0], "counter": task[1]})


def claim(
    api: httpx.Client, task: tuple[str, int], process: str, ttl: int = 60_000
) -> httpx.Response:
    """Claim a task, given as its id and counter, for a process. The lease is `ttl` ms long."""
    body = {"id": task[0], "counter": task[1], "processId": process, "ttl": ttl}
    return api.post("/tasks/claim", json=body)


def encoded(text: str) -> str:
    """Encode a text as a value's `data`."""
    return base64.b64encode(text.encode()).decode()
