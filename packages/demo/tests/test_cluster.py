"""The harness: no process outlives the program that started it."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from threading import Thread

import pytest

from demo.processes import Process
from tests.programs import running, start, wait_for_end

CONFIGURATION = Path(__file__).parents[1] / "pyproject.toml"
HANGING = """
import sys
import threading
from demo.cluster import Cluster
from tests.programs import SCRIPTS
from tests.terminal import Terminal

def test_that_hangs():
    with Cluster(SCRIPTS) as cluster:
        cluster.start_workers(1)
        terminal = Terminal(["sh", "-c", "trap : HUP; while :; do sleep 1; done"], {})
        print("all run", file=sys.stderr, flush=True)
        threading.Event().wait()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="macOS cannot kill a process with its parent")
def test_no_process_outlives_a_killed_test_run(tmp_path: Path) -> None:
    (tmp_path / "test_hanging.py").write_text(HANGING)
    command = ("-m", "pytest", "-s", "-p", "no:cacheprovider", "-c", str(CONFIGURATION))
    with start(*command, "-n1", tmp_path, env={"TMPDIR": str(tmp_path)}) as tests:
        tests.wait_for("all run")
        assert len(running(tmp_path)) >= 5, "pytest, its worker, a server, a worker, a shell"
        tests.send_signal(signal.SIGKILL)
        wait_for_end(tmp_path)


def test_a_process_outlives_the_thread_that_starts_it() -> None:
    started: list[Process] = []
    thread = Thread(
        target=lambda: started.append(Process("echo", ["sh", "-c", "echo up; exec sleep 600"]))
    )
    thread.start()
    thread.join()
    with started[0] as process:
        process.wait_for("up")
        process.send_signal(signal.SIGTERM)
        assert process.wait() == -signal.SIGTERM
