"""Devserver gives the same answers as the real server."""

from __future__ import annotations

import pytest

from demo.cluster import Cluster
from tests.differential.answers import NAMES, read
from tests.differential.play import play
from tests.differential.sequences import all_sequences, walk


@pytest.mark.parametrize("name", NAMES)
def test_answers_as_the_real_server_did(name: str) -> None:
    steps, expected = read(name)
    with Cluster() as cluster:
        answers = play(steps, cluster)
    differences = [
        (step, theirs, ours)
        for step, theirs, ours in zip(steps, expected, answers, strict=True)
        if ours != theirs
    ]
    assert differences == []


def test_every_sequence_is_recorded() -> None:
    assert {name: read(name)[0] for name in NAMES} == all_sequences()


@pytest.mark.parametrize("name", [*all_sequences(), *(f"new_walk_{i}" for i in range(100, 110))])
def test_answers_as_the_real_server_does(name: str, resonate: str) -> None:
    steps = all_sequences().get(name) or walk(int(name.removeprefix("new_walk_")))
    with Cluster(resonate) as cluster:
        theirs = play(steps, cluster)
    with Cluster() as cluster:
        ours = play(steps, cluster)
    assert [(s, a) for s, a in zip(steps, ours, strict=True)] == list(
        zip(steps, theirs, strict=True)
    )
