"""A Restate server, and workers on its Python SDK, for the same recursion."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import requests
from requests.adapters import HTTPAdapter
from urllib3 import Retry

from demo.cluster import ROOT, free_ports
from demo.processes import Process

if TYPE_CHECKING:
    from collections.abc import Iterator


class Restate(NamedTuple):
    """A running Restate server with workers.

    Args:
        server: the server's process.
        workers: the workers' processes.
        url: the URL for calls.
    """

    server: Process
    workers: list[Process]
    url: str

    def factorial(self, n: int) -> float:
        """Compute the factorial of n, and return the seconds that the call took."""
        with _session() as session:
            self._call(session, 1)
            begin = time.perf_counter()
            self._call(session, n)
            return time.perf_counter() - begin

    def _call(self, session: requests.Session, n: int) -> None:
        session.post(f"{self.url}/factorial-0/factorial", json=n).raise_for_status()


@contextmanager
def restate(binary: str, workers: int) -> Iterator[Restate]:
    """Start a Restate server without data, and workers.

    Args:
        binary: the server's binary.
        workers: how many workers.

    Raises:
        ProcessError: a process does not start.
    """
    port, admin_port, node_port = free_ports(3)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="restate-")))
        env = os.environ | {
            "RESTATE_BIND_IP": "127.0.0.1",
            "RESTATE_BIND_PORT": str(node_port),
            "RESTATE_ADMIN__BIND_PORT": str(admin_port),
            "RESTATE_INGRESS__BIND_PORT": str(port),
            "RESTATE_LISTEN_MODE": "tcp",
            "RESTATE_ADVERTISED_HOST": "127.0.0.1",
            "RESTATE_DISABLE_TELEMETRY": "true",
            "RESTATE_LOG_FILTER": "error",
        }
        command = [binary, "--base-dir", str(folder), "--node-name", "benchmark", "--no-logo"]
        server = stack.enter_context(Process("Restate", command, env=env, cwd=folder))
        running = []
        for number in range(workers):
            module = ["-m", "benchmarks.restate_worker", str(number), str(workers)]
            worker = Process(f"Restate worker {number + 1}", [sys.executable, *module], cwd=ROOT)
            running.append(stack.enter_context(worker))
        with _session() as session:
            for worker in running:
                worker.wait_for("http://")
                session.post(
                    f"http://127.0.0.1:{admin_port}/deployments", json={"uri": worker.output[0]}
                ).raise_for_status()
        yield Restate(server, running, f"http://127.0.0.1:{port}")


def _session() -> requests.Session:
    """Open an HTTP client that waits until the server is ready."""
    session = requests.Session()
    retry = Retry(
        total=100,
        backoff_factor=0.02,
        backoff_max=0.5,
        allowed_methods=None,
        status_forcelist=[404, 503],
    )
    session.mount("http://", HTTPAdapter(max_retries=retry))
    return session
