"""A server with its data, and its workers and clients."""

from __future__ import annotations

import itertools
import os
import random
import socket
import sys
import tempfile
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from demo.processes import PATIENCE, Process, ProcessError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from demo.processes import Listener

# The ports that `free_ports` tries, in a random order. They are below the range that systems use
# for outgoing connections. Processes start in different blocks of ports, so that two of them rarely
# find the same port at the same time.
_FIRST = 20_000 + os.getpid() % 40 * 300
_ports = itertools.cycle(random.sample(range(_FIRST, _FIRST + 300), 300))


class Cluster:
    """A server with its own ports and data, and the workers and clients that use it.

    It is a context manager. On entry, it starts the server. On exit, it kills all processes and
    deletes the data. If this program is killed, its processes end too (on Linux), and the data
    stays in the system's folder for temporary files.

    Args:
        scripts: the folder of the tutorial's scripts.
        resonate: the binary of a real legacy Resonate server; None runs the devserver.
        listener: called with each line of each process; see `Process`.
    """

    def __init__(
        self,
        scripts: Path,
        resonate: str | None = None,
        listener: Listener = lambda _process, _line: None,
    ) -> None:
        self._scripts = scripts.absolute()  # the processes run in another folder
        self._resonate = resonate
        self._listener = listener
        self._changed = threading.Condition()
        self._cleanup = ExitStack()
        self.workers: list[Process] = []

    def __enter__(self) -> Self:
        folder = tempfile.TemporaryDirectory(prefix="factorial-")
        self.data = Path(self._cleanup.enter_context(folder))
        self.port, self.poll_port, *self._other_ports = free_ports(4)
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
        """The URL of the server's API."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def poll_url(self) -> str:
        """The URL of the server's message port."""
        return f"http://127.0.0.1:{self.poll_port}"

    @property
    def page(self) -> str | None:
        """The URL of the server's page for browsers. A real server does not have one."""
        return None if self._resonate else f"http://localhost:{self.port}/"

    @property
    def env(self) -> dict[str, str]:
        """The environment variables of a program that finds the server."""
        env = {k: v for k, v in os.environ.items() if not k.startswith("RESONATE_")}
        return env | {
            "RESONATE_HOST": "http://127.0.0.1",
            "RESONATE_PORT_STORE": str(self.port),
            "RESONATE_PORT_MESSAGE_SOURCE": str(self.poll_port),
            "PYTHONIOENCODING": "utf-8:backslashreplace",  # as `Process` reads it
            "PYTHONUNBUFFERED": "1",
        }

    def start_server(self) -> None:
        """Start the server, or start it again on its data, and wait until it takes requests.

        Raises:
            ProcessError: the server does not start.
        """
        self.launch_server()
        if self._resonate is None:
            self.server.wait_for("Data in")
        else:
            self.server.wait_for("starting http server")
            self.server.wait_for("starting poll server")

    def launch_server(self) -> None:
        """Start the server on its ports and data, without waiting for it."""
        if self._resonate is None:
            command = [sys.executable, "-m", "devserver", "--db", str(self.data / "devserver.db")]
            command += ["--port", str(self.port), "--poll-port", str(self.poll_port)]
        else:
            grpc, metrics = (f"127.0.0.1:{port}" for port in self._other_ports)
            command = [self._resonate, "serve", "--api-grpc-addr", grpc, "--metrics-addr", metrics]
            command += ["--api-http-addr", f"127.0.0.1:{self.port}", "--system-url", self.url]
            command += ["--aio-poll-addr", f"127.0.0.1:{self.poll_port}"]
            command += ["--aio-store-sqlite-path", str(self.data / "resonate.db")]
        self.server = self.launch("server", command)

    def start_workers(self, count: int, pace: float = 0) -> list[Process]:
        """Start more workers, wait until they run, and return them; `workers` has all of them.

        Args:
            count: how many.
            pace: how long each of their calls pauses before it calls the next one (seconds).

        Raises:
            ProcessError: a worker does not start.
        """
        command = [sys.executable, str(self._scripts / "factorial_worker.py"), "--pace", str(pace)]
        first = len(self.workers) + 1
        workers = [self.launch(f"worker {first + i}", command) for i in range(count)]
        self.workers += workers
        for worker in workers:
            worker.wait_for("is running")
        return workers

    def wait_for_worker(self, text: str) -> Process:
        """Wait until a worker prints a line that contains a text, and return that worker.

        Raises:
            ProcessError: no worker prints such a line within `PATIENCE` seconds.
        """

        def find() -> Process | None:
            return next((worker for worker in self.workers if worker.printed(text)), None)

        with self._changed:
            worker = self._changed.wait_for(find, PATIENCE)
        if worker is None:
            raise ProcessError(f"no worker printed {text!r} within {PATIENCE} s")
        return worker

    def start_client(self, n: int) -> Process:
        """Start a client that asks for the factorial of n."""
        script = str(self._scripts / "factorial_client.py")
        return self.launch("client", [sys.executable, script, str(n)])

    def launch(
        self, name: str, command: Sequence[str | Path], env: Mapping[str, str] | None = None
    ) -> Process:
        """Start a program in `env` without waiting for it.

        Args:
            name: its name in messages.
            command: the program and its arguments.
            env: more environment variables.
        """
        process = Process(
            name,
            command,
            env=self.env | dict(env or {}),
            cwd=self.data,
            listener=self._listener,
            changed=self._changed,
        )
        self._cleanup.callback(process.kill)
        return process


def free_ports(count: int) -> list[int]:
    """Find ports on the loopback address that no program uses now."""
    found: list[int] = []
    with ExitStack() as stack:
        while len(found) < count:
            port = next(_ports)
            with suppress(OSError):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
                found.append(port)
    return found
