"""Devserver gives the same answers as the real server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.differential.answers import NAMES, read
from tests.differential.play import play
from tests.programs import Server

if TYPE_CHECKING:
    from tests.differential.play import Step


def differences(steps: list[Step], theirs: list[Any], ours: list[Any]) -> list[Any]:
    """List the steps with different answers, except for the intended difference.

    All claims of the sequences are one process's. Devserver answers its repeated claim.
    """
    return [
        (step, their, our)
        for step, their, our in zip(steps, theirs, ours, strict=True)
        if our != their
        and not (their == [403, {"error": 40306}] and our[0] == 201 and _is_claim(step))
    ]


def _is_claim(step: Step) -> bool:
    path: str = step["send"][1]
    return path.startswith("/tasks/claim")


@pytest.mark.parametrize("name", NAMES)
def test_answers_as_the_real_server_did(name: str) -> None:
    steps, expected = read(name)
    with Server() as server:
        answers = play(steps, server)
    assert differences(steps, expected, answers) == []


@pytest.mark.parametrize("name", NAMES)
def test_answers_as_the_real_server_does(name: str, resonate: str) -> None:
    steps, _ = read(name)
    with Server(resonate) as server:
        theirs = play(steps, server)
    with Server() as server:
        ours = play(steps, server)
    assert differences(steps, theirs, ours) == []
