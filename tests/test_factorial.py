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

import factorial_worker

if TYPE_CHECKING:
    from collections.abc import Generator


def begin(n: Any) -> Generator[Any, Any, int]:
    """Call the function as a worker does."""
    name = f"factorial-{n}"
    info: Any = Info.__new__(Info)  # a call's attempt and timeout, which factorial does not read
    ctx = Context(name, name, info, Registry(), Dependencies(), logging.getLogger())
    return factorial_worker.factorial.func(ctx, n)


def run(n: int) -> int:
    """Run all calls of a recursion."""
    call = begin(n)
    try:
        request = next(call)
        call.send(run(*request.conv.args))
    except StopIteration as end:
        result: int = end.value
        return result
    raise AssertionError("the function yields only once")


@pytest.mark.parametrize("n", [0, 1, 2, 10, 50])
def test_computes_the_factorial(n: int) -> None:
    assert run(n) == math.factorial(n)


@pytest.mark.parametrize("n", [-1, 2.0, "2", True, None])
def test_takes_only_non_negative_integers(n: Any) -> None:
    with pytest.raises(ValueError, match="n must be a non-negative integer, not "):
        next(begin(n))


def test_pauses_and_then_calls_the_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factorial_worker, "pace", 0.5)
    call = begin(5)
    timer = next(call)
    assert isinstance(timer.conv, Sleep)
    assert (timer.conv.id, timer.conv.secs) == ("factorial-5.1", 0.5)
    request = call.send(None)
    assert isinstance(request, RFC)
    assert isinstance(request.conv, Remote)
    assert (request.conv.name, request.conv.args) == ("factorial", (4,))
    assert request.conv.id == request.conv.idempotency_key == "factorial-4"
    assert request.conv.tags["resonate:invoke"] == "poll://any@factorial-worker"
