"""The factorial function as a generator, step by step, with the SDK's context."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

import pytest
from resonate import Context
from resonate.conventions import Remote, Sleep
from resonate.coroutine import RFC
from resonate.dependencies import Dependencies
from resonate.registry import Registry
from resonate.scheduler import Info

from factorial_worker import factorial
from plumbing.terminal import shortened

if TYPE_CHECKING:
    from collections.abc import Generator


def begin(n: int, pace: float = 0) -> Generator[Any, Any, int]:
    """Call the function as a worker does."""
    dependencies = Dependencies()
    dependencies.add("pace", pace)
    name = f"factorial-{n}"
    info: Any = Info.__new__(Info)  # a call's attempt and timeout, which factorial does not read
    ctx = Context(name, name, info, Registry(), dependencies, logging.getLogger())
    return factorial.func(ctx, n)


def value_of(call: Generator[Any, Any, int], value: int | None) -> int:
    """Send a call the value that it waits for, and return its result."""
    with pytest.raises(StopIteration) as end:
        call.send(value)
    result: int = end.value.value
    return result


def run(n: int) -> int:
    """Run all calls of a recursion."""
    call = begin(n)
    try:
        request = next(call)
    except StopIteration as end:
        result: int = end.value
        return result
    return value_of(call, run(*request.conv.args))


@pytest.mark.parametrize("n", [0, 1, 2, 10, 50])
def test_computes_the_factorial(n: int) -> None:
    assert run(n) == math.factorial(n)


@pytest.mark.parametrize("n", [0, 1])
def test_ends_at_one(n: int) -> None:
    assert value_of(begin(n), None) == 1


def test_calls_the_group_for_the_smaller_number() -> None:
    call = begin(5)
    request = next(call)
    assert isinstance(request, RFC)
    assert isinstance(request.conv, Remote)
    assert (request.conv.name, request.conv.args) == ("factorial", (4,))
    assert request.conv.id == request.conv.idempotency_key == "factorial-4"
    assert request.conv.tags["resonate:invoke"] == "poll://any@factorial-worker"
    assert value_of(call, 24) == 120


def test_waits_on_a_durable_timer_before_it_recurses() -> None:
    call = begin(5, pace=0.5)
    timer = next(call)
    assert isinstance(timer.conv, Sleep)
    assert (timer.conv.id, timer.conv.secs) == ("factorial-5.1", 0.5)
    assert call.send(None).conv.id == "factorial-4"
    assert value_of(begin(1, pace=0.5), None) == 1, "the last call does not wait"


def test_shortens_a_long_value() -> None:
    assert shortened(math.factorial(100)) == "9332621544...0000000000 (158 digits)"
    assert shortened(math.factorial(30)) == str(math.factorial(30))
