"""The real `resonate` command line works against the devserver."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import httpx
import pytest

from demo.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    type Run = Callable[..., str]


@pytest.fixture
def ours() -> Iterator[Cluster]:
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def run(resonate: str, ours: Cluster) -> Run:
    """Run a command of the real binary, and return its output."""

    def run(*arguments: str) -> str:
        command = [resonate, *arguments, "--server", ours.url]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    return run


def test_promises(run: Run) -> None:
    assert "Created promise: p" in run("promises", "create", "p", "--timeout", "1h", "--tag", "a=b")
    assert "PENDING" in run("promises", "get", "p")
    assert "Resolved promise: p" in run("promises", "resolve", "p", "--data", "42")
    assert "RESOLVED" in run("promises", "get", "p")
    assert "already been resolved" in run("promises", "reject", "p")
    assert run("promises", "search", "*", "--state", "pending").count("\n") == 1
    assert "p " in run("promises", "search", "*", "--tag", "a=b")
    run("promises", "create", "q", "--timeout", "1h")
    assert "Canceled promise: q" in run("promises", "cancel", "q")


def test_schedules(run: Run) -> None:
    options = ("--cron", "* * * * *", "--promise-id", "p", "--promise-timeout", "1h")
    assert "Created schedule: s" in run("schedules", "create", "s", *options)
    assert "* * * * *" in run("schedules", "get", "s")
    assert "s " in run("schedules", "search", "*")
    assert "Deleted schedule: s" in run("schedules", "delete", "s")


def test_tasks(run: Run, ours: Cluster) -> None:
    tags = {"resonate:invoke": "poll://any@nobody"}
    body = {"id": "p", "timeout": 4_000_000_000_000, "tags": tags}
    httpx.post(f"{ours.url}/promises", json=body)
    claim = ("--counter", "1", "--pid", "me", "--ttl", "1m")
    run("tasks", "claim", "__invoke:p", *claim)
    run("tasks", "heartbeat", "--pid", "me")
    run("tasks", "complete", "__invoke:p", "--counter", "1")


def test_invoke_and_tree(run: Run, ours: Cluster) -> None:
    (worker,) = ours.start_workers(1)
    target = ("--target", "poll://any@factorial-worker")
    run("invoke", "factorial-3", "--func", "factorial", "--arg", "3", *target)
    worker.wait_for("factorial(3) = 6")
    tree = run("tree", "factorial-3")
    for n in (3, 2, 1):
        assert f"factorial-{n} " in tree
