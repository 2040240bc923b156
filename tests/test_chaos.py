"""The soak test `tests/chaos.py`: one trial of each kind."""

from __future__ import annotations

from tests.programs import run


def test_every_kind_of_disturbance_is_survived() -> None:
    soak = run("-m", "tests.chaos", "--trials", "5", "--most", "60")
    assert (soak.wait(), soak.errors) == (0, []), soak.output
    assert len([line for line in soak.output if ": right, " in line]) == 5
    assert soak.output[-1] == "5 of 5 trials as they should be."
