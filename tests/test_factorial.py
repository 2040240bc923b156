"""The function by itself: the SDK's own local store, no server and no other process."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from resonate import Resonate

from factorial_worker import factorial, report

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def resonate() -> Iterator[Resonate]:
    resonate = Resonate.local(group="factorial-worker")
    resonate.register(factorial.func)
    resonate.start()
    yield resonate
    resonate.stop()


@pytest.mark.parametrize("n", [0, 1, 2, 10, 50])
def test_computes_the_factorial(resonate: Resonate, n: int) -> None:
    assert resonate.rpc(f"factorial-{n}", "factorial", n) == math.factorial(n)


def test_gives_every_level_a_promise_of_its_own(resonate: Resonate) -> None:
    resonate.rpc("factorial-4", "factorial", 4)
    values = {n: resonate.get(f"factorial-{n}").result() for n in (1, 2, 3, 4)}
    assert values == {1: 1, 2: 2, 3: 6, 4: 24}


def test_waits_on_a_durable_timer_before_it_recurses(
    resonate: Resonate, capsys: pytest.CaptureFixture[str]
) -> None:
    resonate.set_dependency("pace", 0.01)
    assert resonate.rpc("factorial-3", "factorial", 3) == 6
    timer = resonate.promises.get(id="factorial-3.1")
    assert (timer.state, timer.tags) == ("RESOLVED", {"resonate:timeout": "true"})
    assert capsys.readouterr().out.splitlines() == [
        "factorial(3)",
        "factorial(2)",
        "factorial(1)",
        "factorial(1) = 1",
        "factorial(2) = 2",
        "factorial(3) = 6",
    ]


def test_prints_a_long_value_by_its_ends(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(100, math.factorial(100)) == math.factorial(100)
    printed = capsys.readouterr().out
    assert printed == "factorial(100) = 9332621544...0000000000 (158 digits)\n"
