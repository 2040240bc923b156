"""A server of its own, with workers and clients."""

from __future__ import annotations

import os
import random
import socket
import sys
import tempfile
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from cluster.processes import PATIENCE, Process, ProcessError

if TYPE_CHECKING:
    from cluster.processes import Listener

ROOT = Path(__file__).parent.parent


class Cluster:
    """A server of its own, and the workers and clients that are started on it.

    It is a context manager: entered, the server takes requests; left, however that comes
    about, no process runs any more and the server's data is deleted.

    Args:
        resonate: the binary of a real legacy Resonate server; None takes the devserver.
        listener: see `Process`.
    """

    def __init__(
        self, resonate: str | None = None, listener: Listener = lambda _process, _line: None
    ) -> None:
        self._resonate = resonate
        self._listener = listener
        self._changed = threading.Condition()
        self._cleanup = ExitStack()
        self.workers: list[Process] = []

    def __enter__(self) -> Self:
        folder = tempfile.TemporaryDirectory(prefix="factorial-")
        self._data = Path(self._cleanup.enter_context(folder))
        self._port, self._poll_port, *self._other_ports = free_ports(4)
        try:
            self.start_server()
        except BaseException:
            self._cleanup.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    @property
    def url(self) -> str:
        """Where the server's API is."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def page(self) -> str | None:
        """Where the server shows itself in a browser; a real server does not."""
        return None if self._resonate else f"http://localhost:{self._port}/"

    @property
    def poll_url(self) -> str:
        """Where the server's messages are."""
        return f"http://127.0.0.1:{self._poll_port}"

    @property
    def env(self) -> dict[str, str]:
        """The environment in which the SDK finds the server, and Python this project."""
        env = {k: v for k, v in os.environ.items() if not k.startswith("RESONATE_")}
        return env | {
            "RESONATE_HOST": "http://127.0.0.1",
            "RESONATE_PORT_STORE": str(self._port),
            "RESONATE_PORT_MESSAGE_SOURCE": str(self._poll_port),
            "PYTHONPATH": str(ROOT),
        }

    def start_server(self) -> None:
        """Start the server, for the first time or again, and wait until it takes requests.

        Raises:
            ProcessError: it does not come up.
        """
        self.launch_server()
        if self._resonate is None:
            self.server.wait_for("Data in")
        else:
            self.server.wait_for("starting http server")
            self.server.wait_for("starting poll server")

    def launch_server(self) -> None:
        """Start the server, always on the same ports and data, and do not wait for it."""
        if self._resonate is None:
            ports = ["--port", str(self._port), "--poll-port", str(self._poll_port)]
            command = [sys.executable, "-m", "devserver", *ports]
            command += ["--db", str(self._data / "devserver.db")]
        else:
            grpc, metrics = (f"127.0.0.1:{port}" for port in self._other_ports)
            command = [self._resonate, "serve", "--api-grpc-addr", grpc, "--metrics-addr", metrics]
            command += ["--api-http-addr", f"127.0.0.1:{self._port}", "--system-url", self.url]
            command += ["--aio-poll-addr", f"127.0.0.1:{self._poll_port}"]
            command += ["--aio-store-sqlite-path", str(self._data / "resonate.db")]
        self.server = self.launch("server", command)

    def start_workers(self, count: int, pace: float = 0) -> list[Process]:
        """Start some more workers, and wait until each one says that it runs.

        Args:
            count: how many.
            pace: how long each of their calls waits before it recurses, in seconds.

        Raises:
            ProcessError: one of them does not come up.
        """
        workers = [self.launch_worker(pace) for _ in range(count)]
        for worker in workers:
            worker.wait_for("is running")
        return workers

    def launch_worker(self, pace: float = 0) -> Process:
        """Start one more worker, and do not wait for it; see `start_workers`."""
        command = [sys.executable, str(ROOT / "factorial_worker.py"), "--pace", str(pace)]
        worker = self.launch(f"worker {len(self.workers) + 1}", command)
        self.workers.append(worker)
        return worker

    def wait_for_worker(self, text: str, timeout: float = PATIENCE) -> Process:
        """Wait until one of the workers has printed a line that contains a text.

        Returns:
            That worker.

        Raises:
            ProcessError: none does within `timeout` seconds.
        """

        def who() -> Process | None:
            return next((worker for worker in self.workers if worker.printed(text)), None)

        with self._changed:
            worker = self._changed.wait_for(who, timeout)
        if worker is None:
            raise ProcessError(f"no worker printed {text!r} within {timeout} s")
        return worker

    def start_client(self, n: int) -> Process:
        """Start a client that asks for the factorial of n."""
        script = str(ROOT / "factorial_client.py")
        return self.launch("client", [sys.executable, script, str(n)])

    def launch(self, name: str, command: list[str]) -> Process:
        """Start any program that is to find the server and this project, and do not wait for it.

        Args:
            name: what to call it.
            command: the program and its arguments.
        """
        process = Process(
            name,
            command,
            env=self.env,
            cwd=self._data,
            listener=self._listener,
            changed=self._changed,
        )
        self._cleanup.callback(process.stop)
        return process


def free_ports(count: int) -> list[int]:
    """Find ports on the loopback address that nobody uses now.

    They are below those that systems give to outgoing connections, which could take them before a
    server does.
    """
    found: list[int] = []
    with ExitStack() as stack:
        while len(found) < count:
            port = random.randrange(20_000, 32_000)  # noqa: S311 - no secret
            with suppress(OSError):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
                found.append(port)
    return found
