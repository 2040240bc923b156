"""`python -m tests.chaos`: kills and stops processes at random moments, and checks every answer.

Each trial runs the recursion twice on fresh data, once in peace and once with a disturbance. The
difference between their times is what the disturbance cost.
"""

from __future__ import annotations

import argparse
import math
import random
import signal
import statistics
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from cluster import Cluster, Process, ProcessError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WORKERS = 3
PACES = (0.0, 0.0, 0.005, 0.02)
# A real server may lose a callback on a timer of a few milliseconds, also with the plain SDK.
PACES_OF_RESONATE = (0.0, 0.0, 0.0, 0.2)
# A lease (seconds): no kill of a worker may cost more, where the server sees that it is gone.
LEASE = 10.0
# When to give a run up (seconds): a real server may need a minute for each message that a dead
# or hanging worker was sent.
PATIENCE = 400.0


@dataclass(frozen=True)
class Trial:
    """A run and its disturbance.

    Args:
        kind: a key of DISTURBANCES.
        n: the run computes factorial(n).
        pace: how long each call waits before it recurses, in seconds.
        moments: what a worker prints when it is time, in the order of the run.
    """

    kind: str
    n: int
    pace: float
    moments: list[str]


class Scene:
    """A run under way, for those who disturb it.

    Args:
        cluster: where it runs.
        trial: the run and its disturbance.
        rng: chooses the victims.
        is_real: whether the server is a real one, and not the devserver.
    """

    def __init__(
        self, cluster: Cluster, trial: Trial, rng: random.Random, *, is_real: bool
    ) -> None:
        self.cluster = cluster
        self.is_real = is_real
        self.pace = trial.pace
        self.victims: list[Process] = []
        self.hanging: list[Process] = []
        self._n = trial.n
        self._rng = rng
        cluster.start_workers(WORKERS, trial.pace)
        self._begin = time.monotonic()
        self.client = cluster.start_client(trial.n)

    def any_worker(self) -> Process:
        """Choose one of the workers that are well."""
        gone = self.victims + self.hanging
        return self._rng.choice([w for w in self.cluster.workers if w not in gone])

    def ask_again(self) -> None:
        """Start another client with the same question."""
        self.client = self.cluster.start_client(self._n)

    def finish(self) -> float:
        """Wait for the answer, and check everything.

        Returns:
            How long the run took, in seconds.

        Raises:
            ProcessError: something is not as it should be.
        """
        code = self.client.wait(PATIENCE)
        took = time.monotonic() - self._begin
        if code != 0 or self.client.output != [f"Result: {math.factorial(self._n)}"]:
            raise ProcessError(f"wrong: {' '.join(self.client.output + self.client.errors)[:200]}")
        for worker in self.hanging:
            worker.send_signal(signal.SIGCONT)
        for worker in self.cluster.workers:
            if worker not in self.victims:
                worker.wait_for("is running")  # a replacement may be new still
                worker.send_signal(signal.SIGTERM)
                if worker.wait() != 0:
                    raise ProcessError(f"{worker.name} died: {' '.join(worker.errors)[-200:]}")
        begun = {line for worker in self.cluster.workers for line in worker.output}
        lost = [n for n in range(1, self._n + 1) if f"factorial({n})" not in begun]
        if lost:
            raise ProcessError(f"nobody computed {lost}")
        return took


def kill_worker(scene: Scene) -> None:
    """Kill a worker, and start another one."""
    victim = scene.any_worker()
    scene.victims.append(victim)
    victim.kill()
    scene.cluster.launch_worker(scene.pace)


def kill_server(scene: Scene) -> None:
    """Kill the server, and start it again on its data."""
    scene.cluster.server.kill()
    scene.cluster.start_server()


def kill_client(scene: Scene) -> None:
    """Kill the client, and ask again."""
    scene.client.kill()
    scene.ask_again()


def hang_worker(scene: Scene) -> None:
    """Stop a worker with SIGSTOP: its connection stays, and it does nothing."""
    victim = scene.any_worker()
    scene.hanging.append(victim)
    victim.send_signal(signal.SIGSTOP)
    if scene.is_real:  # it sends a hanging worker's calls back to it, again and again
        time.sleep(2 * LEASE)
        victim.send_signal(signal.SIGCONT)


# Each kind of disturbance, and how often it happens in a run.
DISTURBANCES: dict[str, tuple[Callable[[Scene], None], int]] = {
    "worker killed": (kill_worker, 1),
    "3 workers killed": (kill_worker, 3),
    "server killed": (kill_server, 1),
    "client killed": (kill_client, 1),
    "worker hangs": (hang_worker, 1),
}


def main() -> int:
    """Run the trials.

    Returns:
        The exit code: 1 where any of them failed.
    """
    sys.set_int_max_str_digits(0)
    args = _parse_arguments()
    rng = random.Random(args.seed)
    console = Console(highlight=False)
    console.print(f"{args.trials} trials, seed {args.seed}")
    extra: dict[str, list[float]] = {kind: [] for kind in DISTURBANCES}
    failures = 0
    for number in range(args.trials):
        kind = list(DISTURBANCES)[number % len(DISTURBANCES)]
        paces = PACES if args.resonate is None else PACES_OF_RESONATE
        trial = _make_up(rng, kind, args.most, paces)
        what = f"{number + 1:3}  {trial.kind:16}  n = {trial.n:<3}  pace {trial.pace:<5}  "
        what += f"at {', '.join(trial.moments)}"
        try:
            peaceful = _run(args.resonate, trial, rng, disturb=False)
            disturbed = _run(args.resonate, trial, rng, disturb=True)
        except ProcessError as e:
            failures += 1
            console.print(f"{what}: FAILED, {e}", soft_wrap=True)
            continue
        cost = disturbed - peaceful
        extra[trial.kind].append(cost)
        late = args.resonate is None and trial.kind == "worker killed" and cost > LEASE
        failures += late
        verdict = "LATE" if late else "right"
        console.print(f"{what}: {verdict}, {peaceful:.1f} s {cost:+.1f} s", soft_wrap=True)
    console.print(_distribution(extra))
    console.print(f"{args.trials - failures} of {args.trials} trials as they should be.")
    return 1 if failures else 0


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description="Kill and hang workers, servers and clients at random moments of runs, and "
        "check every answer.",
    )
    parser.add_argument("--trials", type=int, default=40, help="how many (default: 40)")
    parser.add_argument("--seed", type=int, default=0, help="which ones (default: 0)")
    parser.add_argument(
        "--most", type=int, default=300, metavar="N", help="the greatest n, from 20 (default: 300)"
    )
    parser.add_argument(
        "--resonate",
        metavar="BINARY",
        help="a real legacy Resonate server to use instead of the devserver",
    )
    return parser.parse_args()


def _make_up(rng: random.Random, kind: str, most: int, paces: Sequence[float]) -> Trial:
    """Make up a trial."""
    n = rng.randint(20, most)
    down = [f"factorial({k})" for k in range(n, 0, -1)]
    up = [f"factorial({k}) = " for k in range(1, n)]
    moments = sorted(rng.sample(range(2 * n - 1), DISTURBANCES[kind][1]))
    return Trial(kind, n, rng.choice(paces), [(down + up)[moment] for moment in moments])


def _run(resonate: str | None, trial: Trial, rng: random.Random, *, disturb: bool) -> float:
    """Run the recursion once.

    Returns:
        How long it took, in seconds.
    """
    with Cluster(resonate) as cluster:
        scene = Scene(cluster, trial, rng, is_real=resonate is not None)
        if disturb:
            for moment in trial.moments:
                cluster.wait_for_worker(moment, PATIENCE)
                DISTURBANCES[trial.kind][0](scene)
        return scene.finish()


def _distribution(extra: dict[str, list[float]]) -> Table:
    table = Table(title="Extra time (s)", title_justify="left")
    table.add_column("what was done")
    for name in ("right", "least", "median", "greatest"):
        table.add_column(name, justify="right")
    everything = [cost for costs in extra.values() for cost in costs]
    for kind, costs in [*extra.items(), ("all", everything)]:
        figures = (min(costs), statistics.median(costs), max(costs)) if costs else ()
        table.add_row(kind, str(len(costs)), *(f"{figure:.1f}" for figure in figures))
    return table


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # it leaves no process behind
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("tests.chaos: stopped; no process and no file is left", file=sys.stderr)
        sys.exit(130)
