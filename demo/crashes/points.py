"""Crash points: a step of the protocol, and the process that is killed there."""

from __future__ import annotations

import math
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self

from demo.cluster import ROOT

if TYPE_CHECKING:
    from demo.proxy import Moment, Passage

    type Victim = Literal["worker", "server", "both", "client"]

VICTIMS: tuple[Victim, ...] = ("worker", "server", "both", "client")


@dataclass(frozen=True)
class Recursion:
    """The programs that compute a result together.

    Args:
        worker: the command of a worker.
        client: the command of the client.
        result: the line that the client must print.
    """

    worker: tuple[str, ...]
    client: tuple[str, ...]
    result: str

    @classmethod
    def factorial(cls, n: int) -> Self:
        """Describe the tutorial's recursion."""
        worker, client = (str(ROOT / f"factorial_{part}.py") for part in ("worker", "client"))
        return cls(
            (sys.executable, worker),
            (sys.executable, client, str(n)),
            f"Result: {math.factorial(n)}",
        )


@dataclass(frozen=True)
class Point:
    """A step of the protocol, and the process that is killed there.

    Args:
        step: the step in the words of the README's sequence diagram, like `resolve factorial-2`.
        moment: `before` the request reaches the server, or `after` the server has carried it out
            and before the answer arrives. For a message: `before` it arrives.
        victim: `worker` is the process that sends the request or receives the message. For a step
            of the client, that is the client. `both` is that process and the server.
        occurrence: 1 for the first time that the step occurs since the start of the run or since
            the previous crash, 2 for the second time, and so on.
    """

    step: str
    moment: Moment
    victim: Victim
    occurrence: int = 1

    @classmethod
    def at(cls, step: str, moment: Moment, victim: Victim) -> Self:
        """Read a step as a table of crash points shows it, like `claim factorial-3 #2`."""
        name, _, number = step.partition(" #")
        return cls(name, moment, victim, int(number or 1))

    @property
    def label(self) -> str:
        """The step, with its occurrence unless that is the first one."""
        return self.step + (f" #{self.occurrence}" if self.occurrence > 1 else "")

    def __str__(self) -> str:
        return f"{self.label}, {self.victim} killed {self.moment}"


@dataclass
class Outcome:
    """The record of a run.

    Args:
        passages: all steps, each with its time in seconds.
        crashes: the time of each crash, on the same clock.
        answered: the time at which the client printed the result, on the same clock.
        again: for each call that was run more than once, how often it was run again.
        promises: the server's promises at the end.
        faults: each thing that went wrong; empty if the run was right.
    """

    passages: list[tuple[float, Passage]] = field(default_factory=list)
    crashes: list[float] = field(default_factory=list)
    answered: float = 0
    again: Counter[str] = field(default_factory=Counter)
    promises: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def points_of(outcome: Outcome) -> list[Point]:
    """List the crash points of a run after its last crash, in the order of its steps."""
    begin = outcome.crashes[-1] if outcome.crashes else 0
    seen: Counter[tuple[str, Moment]] = Counter()
    points = []
    for when, passage in outcome.passages:
        if when < begin:
            continue
        seen[passage.step, passage.moment] += 1
        for victim in VICTIMS:
            if victim != "client" or (passage.moment == "before" and passage.party != "client"):
                occurrence = seen[passage.step, passage.moment]
                points.append(Point(passage.step, passage.moment, victim, occurrence))
    return points
