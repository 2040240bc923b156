"""The real `resonate` command line works against the devserver."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.api import invoke
from tests.test_plain_sdk import start_workers

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from tests.programs import Server


@pytest.fixture
def run(resonate: str, devserver: Server) -> Callable[[str], str]:
    """Run a command of the real binary, and return its output."""

    def run(command: str) -> str:
        arguments = [resonate, *command.split(), "--server", devserver.url]
        done = subprocess.run(arguments, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    return run


def test_promises(run: Callable[[str], str]) -> None:
    assert "Created promise: p" in run("promises create p --timeout 1h --tag a=b")
    assert "PENDING" in run("promises get p")
    assert "Resolved promise: p" in run("promises resolve p --data 42")
    assert "RESOLVED" in run("promises get p")
    assert "already been resolved" in run("promises reject p")
    assert run("promises search p --state pending").count("\n") == 1
    assert "p " in run("promises search * --tag a=b")
    run("promises create q --timeout 1h")
    assert "Canceled promise: q" in run("promises cancel q")


def test_schedules(run: Callable[[str], str]) -> None:
    options = "--cron @hourly --promise-id p --promise-timeout 1h"
    assert "Created schedule: s" in run(f"schedules create s {options}")
    assert "@hourly" in run("schedules get s")
    assert "s " in run("schedules search *")
    assert "Deleted schedule: s" in run("schedules delete s")


def test_tasks(run: Callable[[str], str], api: httpx.Client) -> None:
    invoke(api, "task", "poll://any@nobody")
    run("tasks claim __invoke:task --counter 1 --pid me --ttl 1m")
    run("tasks heartbeat --pid me")
    run("tasks complete __invoke:task --counter 1")


def test_invoke_and_tree(run: Callable[[str], str], devserver: Server) -> None:
    start_workers(devserver, 1)
    run("invoke down-3 --func down --arg 3 --target poll://any@tests")
    while "RESOLVED" not in run("promises get down-3"):
        time.sleep(0.05)  # the command cannot wait
    tree = run("tree down-3")
    assert all(f"down-{n} " in tree for n in (3, 2, 1))
