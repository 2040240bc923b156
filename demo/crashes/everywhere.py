"""Runs a recursion once for each of its crash points, several runs at the same time."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from demo.crashes.cluster import CrashCluster
from demo.crashes.points import Outcome, points_of
from demo.processes import ProcessError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from demo.crashes.points import Point, Recursion
    from demo.proxy import Moment

# How many runs to try until one reaches a point: with three workers, the order of the steps
# differs from run to run.
TRIES = 5
# How long each step is held in the run that shows their order (seconds).
PACE = 0.03


@dataclass(frozen=True)
class Verdict:
    """The result of one crash, or of several in one run.

    Args:
        points: where processes were killed, in this order.
        outcome: the record of the run.
        has_occurred: whether the run reached all the points.
        extra: by how much the last crash delayed the answer (seconds).
    """

    points: tuple[Point, ...]
    outcome: Outcome
    has_occurred: bool
    extra: float

    @property
    def is_right(self) -> bool:
        """Whether the run had no faults."""
        return not self.outcome.faults

    def __str__(self) -> str:
        what = "; then ".join(map(str, self.points))
        if not self.is_right:
            return f"{what}: WRONG, {', '.join(self.outcome.faults)}"
        if not self.has_occurred:
            return f"{what}: the step did not occur in {TRIES} runs"
        again = "".join(f"; ran {call} again" for call in self.outcome.again)
        return f"{what}: right, {self.extra:+.1f} s{again}"


class Everywhere:
    """Runs a recursion once without a crash, and then once for each crash point.

    Args:
        recursion: what to run.
        resonate: the binary of a real legacy Resonate server; None runs the devserver.
        workers: how many workers each run has.
        side_by_side: how many runs to start at the same time.
    """

    def __init__(
        self,
        recursion: Recursion,
        resonate: str | None = None,
        workers: int = 3,
        side_by_side: int = 2,
    ) -> None:
        self._recursion = recursion
        self._resonate = resonate
        self._workers = workers
        self._side_by_side = side_by_side
        self._running: set[CrashCluster] = set()
        self._is_stopped = threading.Event()
        self._undisturbed = Outcome()

    def record(self) -> list[Point]:
        """Run the recursion without a crash.

        Returns:
            All its crash points, in the order of its steps.

        Raises:
            ProcessError: the run was wrong even without a crash.
        """
        self._undisturbed = self._run_undisturbed(0)
        # At full speed, steps of different workers overtake each other.
        return points_of(self._run_undisturbed(PACE))

    def _run_undisturbed(self, pace: float) -> Outcome:
        with self._cluster((), pace) as cluster:
            outcome = cluster.run()
        if outcome.faults:
            raise ProcessError(f"without a crash: {outcome.faults[0]}")
        return outcome

    def crash(self, plans: Sequence[tuple[Point, ...]]) -> Generator[Verdict]:
        """Run the recursion once for each plan, and kill at the points of that plan.

        Closing the generator stops the runs that have not ended.

        Yields:
            Each verdict, as soon as its run has ended.
        """
        with ThreadPoolExecutor(self._side_by_side) as pool:
            futures = [pool.submit(self.try_plan, plan) for plan in plans]
            try:
                for future in as_completed(futures):
                    yield future.result()
            except BaseException:
                self._stop()
                pool.shutdown(cancel_futures=True)
                raise

    def try_plan(self, points: tuple[Point, ...]) -> Verdict:
        """Run the recursion and kill at some points, in this order.

        Raises:
            ProcessError: the server or a worker does not start.
        """
        for _ in range(TRIES):
            with self._cluster(points) as cluster:
                outcome = cluster.run()
            if cluster.has_crashed or outcome.faults:
                break
        if not outcome.faults:
            outcome.faults += self._changed_promises(outcome)
        return Verdict(points, outcome, cluster.has_crashed, self._extra(outcome))

    @contextmanager
    def _cluster(self, points: tuple[Point, ...], pace: float = 0) -> Iterator[CrashCluster]:
        with CrashCluster(
            self._recursion, points, resonate=self._resonate, workers=self._workers, pace=pace
        ) as cluster:
            self._running.add(cluster)
            if self._is_stopped.is_set():
                cluster.abort()
            try:
                yield cluster
            finally:
                self._running.remove(cluster)

    def _stop(self) -> None:
        self._is_stopped.set()
        for cluster in list(self._running):
            cluster.abort()

    def _changed_promises(self, outcome: Outcome) -> list[str]:
        before, now = self._undisturbed.promises, outcome.promises
        return [
            f"promise {name} is {now.get(name)}; without a crash, it is {before.get(name)}"
            for name in before | now
            if before.get(name) != now.get(name)
        ]

    def _extra(self, outcome: Outcome) -> float:
        """Compare the time from the last crash to the answer with that of the undisturbed run."""
        if not outcome.crashes or outcome.answered < outcome.crashes[-1]:
            return 0
        took = outcome.answered - outcome.crashes[-1]
        return max(took - self._without_crash(outcome), 0)

    def _without_crash(self, outcome: Outcome) -> float:
        """Measure the time from the same step to the answer in the undisturbed run."""
        seen: Counter[tuple[str, Moment]] = Counter()
        for when, passage in outcome.passages:
            if when > outcome.crashes[-1]:
                break
            last = (passage.step, passage.moment)
            seen[last] += 1
        for when, passage in self._undisturbed.passages:
            if (passage.step, passage.moment) == last:
                seen[last] -= 1
                if seen[last] == 0:
                    return max(self._undisturbed.answered - when, 0)
        return 0


@dataclass
class Summary:
    """Counts verdicts as they come."""

    right: int = 0
    wrong: list[Verdict] = field(default_factory=list)
    missing: list[Verdict] = field(default_factory=list)
    again: int = 0
    slowest: float = 0

    def add(self, verdict: Verdict) -> None:
        """Count one more."""
        if not verdict.is_right:
            self.wrong.append(verdict)
        elif verdict.has_occurred:
            self.right += 1
            self.again += verdict.outcome.again.total()
            self.slowest = max(self.slowest, verdict.extra)
        else:
            self.missing.append(verdict)

    def __str__(self) -> str:
        missing = f"; {len(self.missing)} did not occur" if self.missing else ""
        return (
            f"{self.right + len(self.wrong)} crash points, {self.right} right answers{missing}; "
            f"{self.again} calls ran a second time; "
            f"the slowest recovery took {self.slowest:.1f} s"
        )
