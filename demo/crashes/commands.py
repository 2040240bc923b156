"""The demo's two commands for crash points: try all of them, or watch one."""

from __future__ import annotations

import sys
from contextlib import closing, nullcontext
from typing import TYPE_CHECKING

from rich.console import Console

from demo.board import Board
from demo.crashes.cluster import CrashCluster
from demo.crashes.everywhere import Everywhere, Summary
from demo.crashes.onlooker import Onlooker
from demo.crashes.points import Point, Recursion, points_of
from demo.crashes.table import CrashLines, CrashTable
from demo.lines import Lines
from demo.processes import ProcessError
from demo.run import Run

if TYPE_CHECKING:
    from argparse import Namespace

    from demo.director import View

# How many runs to start at the same time. With a real server, runs spend most of their time waiting
# for leases to expire.
SIDE_BY_SIDE = 4
SIDE_BY_SIDE_OF_RESONATE = 12


def crash_everywhere(args: Namespace) -> int:
    """Run the recursion once for each crash point, and show each result.

    Args:
        args: the command line.

    Returns:
        The exit code: 1 if any answer was wrong.

    Raises:
        ProcessError: the recursion fails without a crash.
    """
    console = Console(highlight=False)
    side_by_side = SIDE_BY_SIDE if args.resonate is None else SIDE_BY_SIDE_OF_RESONATE
    recursion = Recursion.factorial(args.n)
    everywhere = Everywhere(recursion, args.resonate, args.workers, side_by_side)
    is_live = _is_live(args, console)
    with console.status("Recording a run without a crash") if is_live else nullcontext():
        points = everywhere.record()
    summary = Summary()
    with (
        CrashTable(points, console) if is_live else nullcontext(CrashLines(console)) as view,
        closing(everywhere.crash([(point,) for point in points])) as verdicts,
    ):
        for verdict in verdicts:
            summary.add(verdict)
            view.update(verdict)
    if is_live:
        for verdict in [*summary.wrong, *summary.missing]:
            console.print(str(verdict))
    console.print(str(summary), soft_wrap=not is_live)
    return 1 if summary.wrong else 0


def crash_at_point(args: Namespace) -> int:
    """Run the recursion slowly, with one crash.

    Args:
        args: the command line.

    Returns:
        The exit code: 1 if the answer was wrong.

    Raises:
        ProcessError: the step did not occur in the run.
    """
    console = Console(highlight=False)
    point = Point.at(args.point, "after" if args.after else "before", args.victim)
    run = Run(args.n)
    onlooker = Onlooker(run)
    recursion = Recursion.factorial(args.n)
    is_live = _is_live(args, console)
    with CrashCluster(
        recursion,
        [point],
        resonate=args.resonate,
        workers=args.workers,
        pace=args.pace,
        listener=onlooker.line,
        onlooker=onlooker.step,
    ) as cluster:
        board = Board(run, console, lambda: onlooker.clock, "", cluster.page) if is_live else None
        with board or nullcontext():
            view: View = board or Lines(run, console)
            outcome = onlooker.follow(cluster, view)
    if not cluster.has_crashed and not outcome.faults:
        steps = ", ".join(dict.fromkeys(p.label for p in points_of(outcome)))
        raise ProcessError(f"{point} did not occur, so nothing was killed. The steps were: {steps}")
    if outcome.faults:
        raise ProcessError(f"{point}: WRONG, {', '.join(outcome.faults)}")
    again = ", ".join(outcome.again) or "none"
    console.print(f"{point}: right answer. Calls that ran again: {again}.", soft_wrap=True)
    console.print(recursion.result)
    return 0


def _is_live(args: Namespace, console: Console) -> bool:
    return not args.plain and sys.stdout.isatty() and console.is_interactive
