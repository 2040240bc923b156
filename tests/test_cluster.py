"""The harness: processes and folders do not outlive the program that created them."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from cluster import ROOT
from tests.programs import run, running, start, wait_for_end

if TYPE_CHECKING:
    from pathlib import Path

# PR_SET_PDEATHSIG would kill the workers when the thread that starts them ends.
PROGRAM = """
import threading
from cluster import Cluster
with Cluster(fork=False) as cluster:
    thread = threading.Thread(target=cluster.start_workers, args=(2, 60))
    thread.start()
    thread.join()
    client = cluster.start_client(5)
    cluster.wait_for_worker("factorial(5)")
    assert all(process.alive for process in [cluster.server, client, *cluster.workers])
    print("all run", flush=True)
    threading.Event().wait()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_its_program(tmp_path: Path, number: int) -> None:
    with start("-c", PROGRAM, env={"TMPDIR": str(tmp_path)}) as program:
        program.wait_for("all run")
        assert len(running(tmp_path)) == 6, "the program, its reaper, and four processes"
        program.send_signal(number)
        assert program.wait() == -number
        wait_for_end(tmp_path)
    assert list(tmp_path.iterdir()) == [], "the server's data is deleted"


def test_nothing_outlives_a_killed_demo(tmp_path: Path) -> None:
    with start("-m", "demo", "100", env={"TMPDIR": str(tmp_path)}) as demo:
        demo.wait_for("factorial(99)")
        demo.kill()
        wait_for_end(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_program_that_stops_nothing_ends_quietly() -> None:
    program = (
        "from cluster import Process; ps = [Process('sleep', ['sleep', '600']) for _ in range(3)]"
    )
    assert run("-c", program).errors == []


HANGING = """
import sys
import threading
from cluster import Cluster
from tests.programs import start
from tests.terminal import Terminal

def test_that_hangs():
    with Cluster() as cluster:
        cluster.start_workers(1)
        server = start("-m", "devserver", "--memory", "--port", "0", "--poll-port", "0")
        server.wait_for("Watch it")
        terminal = Terminal(["sh", "-c", "trap : HUP; while :; do sleep 1; done"], {})
        print("all run", file=sys.stderr, flush=True)
        threading.Event().wait()
"""


@pytest.mark.parametrize(
    ("number", "processes"),
    [
        (signal.SIGKILL, 0),
        (signal.SIGKILL, 1),
        (signal.SIGINT, 1),
        (signal.SIGALRM, 0),  # pytest-timeout sends this one to its own process
    ],
)
def test_no_process_outlives_a_test_run(tmp_path: Path, number: int, processes: int) -> None:
    (tmp_path / "test_hanging.py").write_text(HANGING)
    command = ("-m", "pytest", "-s", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml"))
    count = f"--numprocesses={processes}"
    with start(*command, count, tmp_path, env={"TMPDIR": str(tmp_path)}) as tests:
        tests.wait_for("all run")
        tests.send_signal(number)
        assert tests.wait() != 0
        wait_for_end(tmp_path)
