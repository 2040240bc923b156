"""Devserver gives the same answers as the real server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.differential.play import NAMES, play, read
from tests.programs import Server

if TYPE_CHECKING:
    from tests.differential.play import Step


def differences(steps: list[Step], theirs: list[Any]) -> list[Any]:
    """Play the steps on devserver, and list those with different answers.

    The intended difference is left out: devserver gives a process a task again that it has claimed.
    (All claims of the sequences are one process's.)
    """
    with Server() as server:
        ours = play(steps, server)
    return [
        (step, their, our)
        for step, their, our in zip(steps, theirs, ours, strict=True)
        if our != their and not is_intended(step, their, our)
    ]


def is_intended(step: Step, their: Any, our: Any) -> bool:
    """Tell whether devserver has given a process its task again."""
    path = step["send"][1] if "send" in step else ""
    if path == "/promises/task":
        return bool(their == [200, our[1] | {"task": None}])
    return "/claim" in path and their == [403, {"error": 40306}] and our[0] == 201


@pytest.mark.parametrize("name", NAMES)
def test_answers_as_the_real_server_did(name: str) -> None:
    assert differences(*read(name)) == []


@pytest.mark.parametrize("name", NAMES)
def test_answers_as_the_real_server_does(name: str, resonate: str) -> None:
    steps, _ = read(name)
    with Server(resonate) as server:
        theirs = play(steps, server)
    assert differences(steps, theirs) == []
