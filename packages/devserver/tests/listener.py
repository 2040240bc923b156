"""A client of the message port."""

from __future__ import annotations

import json
from typing import Any, Self

import httpx

from tests.programs import PATIENCE


class Listener:
    """Listens at `poll://…@group/id` on a server's message port until it is closed."""

    def __init__(self, poll_url: str, group: str, id: str) -> None:  # noqa: A002
        self.id = id
        self._client = httpx.Client(timeout=PATIENCE)
        request = self._client.build_request("GET", f"{poll_url}/{group}/{id}")
        self._response = self._client.send(request, stream=True)
        assert self._response.status_code == 200
        self._lines = self._response.iter_lines()

    def next(self) -> dict[str, Any] | None:
        """Wait for the next message. At the end of the stream, return None."""
        for line in self._lines:
            if line.startswith("data:"):
                message: dict[str, Any] = json.loads(line.removeprefix("data:"))
                return message
        return None

    def next_task(self) -> tuple[str, int]:
        """Wait for the next message, and return its task's id and counter."""
        message = self.next()
        assert message is not None
        return message["task"]["id"], message["task"]["counter"]

    def close(self) -> None:
        """Close the connection, as the end of a process does."""
        self._response.close()
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
