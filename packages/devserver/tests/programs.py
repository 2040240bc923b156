"""Programs that the tests start, and a server with its own ports and data."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# How long to wait for an event on a busy machine (seconds).
PATIENCE = 600.0
# Kills a program when the test run is killed. macOS does not have this command.
TIED = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
# The ports that `free_ports` tries, in a random order. They are below the range that systems use
# for outgoing connections. Processes start in different blocks of ports, so that two of them rarely
# find the same port at the same time.
_FIRST = 20_000 + os.getpid() % 40 * 300
_ports = itertools.cycle(random.sample(range(_FIRST, _FIRST + 300), 300))


class Program:
    """A running program whose output is read line by line.

    It is a context manager: on exit, the program and its children are killed. It is `alive` until
    it has ended and all of its output is read. Its environment has `env`, and none of the
    `RESONATE_` variables of this process.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.output: list[str] = []
        self.errors: list[str] = []
        self._changed = threading.Condition()
        others = {k: v for k, v in os.environ.items() if not k.startswith("RESONATE_")}
        self._popen = subprocess.Popen(
            [*TIED, *command],
            env=others | {"PYTHONUNBUFFERED": "1"} | dict(env or {}),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            process_group=0,
        )
        self.alive = True
        threading.Thread(target=self._watch).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def printed(self, text: str) -> bool:
        """Tell whether a line of its output, on stdout or stderr, contains a text."""
        return any(text in line for line in self.output + self.errors)

    def wait_for(self, text: str) -> None:
        """Wait until the program prints a line that contains a text. Fail if it ends before."""
        with self._changed:
            self._changed.wait_for(lambda: self.printed(text) or not self.alive, PATIENCE)
        assert self.printed(text), [text, *self.output, *self.errors]

    def wait(self) -> int:
        """Wait until the program has ended and all of its output is read. Returns the exit code."""
        with self._changed:
            assert self._changed.wait_for(lambda: not self.alive, PATIENCE), "it still runs"
        return self._popen.wait()

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        self._popen.send_signal(number)

    def kill(self) -> None:
        """End it and its children with SIGKILL."""
        if self.alive:
            with suppress(ProcessLookupError):
                os.killpg(self._popen.pid, signal.SIGKILL)
        self.wait()

    def _watch(self) -> None:
        with self._popen as popen:
            assert popen.stdout is not None
            assert popen.stderr is not None
            errors = threading.Thread(target=self._read, args=(popen.stderr, self.errors))
            errors.start()
            self._read(popen.stdout, self.output)
            errors.join()
        with self._changed:
            self.alive = False
            self._changed.notify_all()

    def _read(self, stream: IO[str], lines: list[str]) -> None:
        for line in stream:
            with self._changed:
                lines.append(line.rstrip("\n"))
                self._changed.notify_all()


def start(
    *arguments: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> Program:
    """Start this Python with some arguments; see `Program`."""
    return Program([sys.executable, *arguments], cwd=cwd, env=env)


def run(*arguments: str | Path, cwd: Path | None = None) -> Program:
    """Run this Python with some arguments to its end; see `Program`."""
    with start(*arguments, cwd=cwd) as program:
        program.wait()
    return program


class Server:
    """A devserver, or a real server, with its own ports and data.

    It is a context manager. On exit, it kills the server and the programs that it has launched,
    and deletes the data.

    Args:
        resonate: the binary of a real legacy Resonate server; None runs devserver.
        options: more arguments for devserver.
        below: a command that runs devserver, such as strace and its options.
    """

    def __init__(
        self,
        resonate: str | None = None,
        options: Sequence[str] = (),
        below: Sequence[str] = (),
    ) -> None:
        self._resonate = resonate
        self.is_real = resonate is not None
        self._options = options
        self.below = below
        self._cleanup = ExitStack()

    def __enter__(self) -> Self:
        folder = tempfile.TemporaryDirectory(prefix="devserver-")
        self.data = Path(self._cleanup.enter_context(folder))
        self.db = self.data / "devserver.db"
        self.port, self.poll_port, *self._other_ports = free_ports(4)
        try:
            self.start()
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

    def start(self) -> None:
        """Start the server, or start it again on its data, and wait until it takes requests."""
        if self._resonate is None:
            command = [*self.below, sys.executable, "-m", "devserver", "--db", str(self.db)]
            command += ["--port", str(self.port), "--poll-port", str(self.poll_port)]
            self.process = self.launch([*command, *self._options])
            self.process.wait_for("Data in")
        else:
            grpc, metrics = (f"127.0.0.1:{port}" for port in self._other_ports)
            command = [self._resonate, "serve", "--api-grpc-addr", grpc, "--metrics-addr", metrics]
            command += ["--api-http-addr", f"127.0.0.1:{self.port}", "--system-url", self.url]
            command += ["--aio-poll-addr", f"127.0.0.1:{self.poll_port}"]
            command += ["--aio-store-sqlite-path", str(self.data / "resonate.db")]
            self.process = self.launch(command)
            self.process.wait_for("starting http server")
            self.process.wait_for("starting poll server")

    @property
    def env(self) -> dict[str, str]:
        """The environment variables with which the SDK finds this server."""
        return {
            "RESONATE_HOST": "http://127.0.0.1",
            "RESONATE_PORT_STORE": str(self.port),
            "RESONATE_PORT_MESSAGE_SOURCE": str(self.poll_port),
        }

    def launch(
        self, command: Sequence[str | Path], env: Mapping[str, str] | None = None
    ) -> Program:
        """Start a program with `env` and more environment variables."""
        program = Program(command, cwd=self.data, env=self.env | dict(env or {}))
        self._cleanup.callback(program.kill)
        return program


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
