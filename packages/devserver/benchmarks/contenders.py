"""The contenders. Each measurement starts its own server, without data."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from devserver.store import promises
from devserver.store.database import open_database, transaction
from devserver.store.models import CompletePromise, CreatePromise
from devserver.store.promises import Caller
from tests.programs import PATIENCE, Program, Server, free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

WORKERS = 3
PACKAGE = Path(__file__).parents[1]
SCRIPTS = PACKAGE.parents[1]
ENV = {"PYTHONPATH": f"{PACKAGE}:{PACKAGE.parent / 'transport' / 'src'}"}
IMPORT = "from resonate import Context, Resonate\n"
SAMPLES = 300
FAR = 2**42  # a timeout in the year 2109 (ms since the epoch)


class Scripts(NamedTuple):
    """The tutorial's scripts on devserver, or on the binary of a real legacy Resonate server."""

    name: str
    resonate: str | None = None
    uses_transport: bool = False

    def factorial(self, n: int) -> float:
        """Compute the factorial of n, and return the seconds that the call took."""
        with self._server() as (server, _):
            return self._client(server, "factorial", n)

    def small_calls_and_a_kill(self, count: int) -> dict[str, float]:
        """Make independent calls, and then kill a worker that has just started a call.

        Returns:
            Calls a second with so many calls at once, and the seconds from the kill to the next
            level.
        """
        with self._server() as (server, workers):
            figures = {
                f"{at_once} at once, calls a second": count
                / self._client(server, "small", count, at_once)
                for at_once in (1, 8, 64)
            }
            server.launch([sys.executable, SCRIPTS / "factorial_client.py", "30"])
            worker = _wait_for(workers, "factorial(15)")
            begin = time.perf_counter()
            worker.kill()
            _wait_for(workers, "factorial(13)")
            return figures | {"lost by a kill, s": time.perf_counter() - begin}

    @contextmanager
    def _server(self) -> Iterator[tuple[Server, list[Program]]]:
        script = (SCRIPTS / "factorial_worker.py").read_text()
        if self.uses_transport:
            script = script.replace(IMPORT, IMPORT + "from resonate_transport import remote\n")
            script = script.replace("Resonate.remote", "remote")
        with Server(self.resonate) as server:
            command = [sys.executable, "-c", script]
            workers = [server.launch(command, ENV) for _ in range(WORKERS)]
            for worker in workers:
                worker.wait_for("is running")
            yield server, workers

    def _client(self, server: Server, *arguments: str | int) -> float:
        kind = "transport" if self.uses_transport else "plain"
        command = [sys.executable, "-m", "benchmarks.client", kind, *map(str, arguments)]
        client = server.launch(command, ENV)
        client.wait_for("took")
        return float(client.output[-1].removeprefix("took "))


def _wait_for(workers: list[Program], text: str) -> Program:
    """Wait until one of the workers prints a text, and return that worker."""
    while True:
        for worker in workers:
            if worker.printed(text):
                return worker
        time.sleep(0.0005)


class Restate(NamedTuple):
    """The same recursion on Restate. Each worker has its own service, and calls the next one."""

    name: str
    binary: str

    def factorial(self, n: int) -> float:
        """Compute the factorial of n, and return the seconds that the call took."""
        port, admin_port, node_port, *worker_ports = free_ports(3 + WORKERS)
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="restate-"))
            env = {
                "RESTATE_BIND_IP": "127.0.0.1",
                "RESTATE_BIND_PORT": str(node_port),
                "RESTATE_ADMIN__BIND_PORT": str(admin_port),
                "RESTATE_INGRESS__BIND_PORT": str(port),
                "RESTATE_ADVERTISED_HOST": "127.0.0.1",
                "RESTATE_DISABLE_TELEMETRY": "true",
            }
            stack.enter_context(Program([self.binary, "--base-dir", folder], env=env))
            for number, worker_port in enumerate(worker_ports):
                worker = [sys.executable, "-m", "benchmarks.restate_worker"]
                worker += map(str, (number, WORKERS, worker_port))
                stack.enter_context(Program(worker, cwd=PACKAGE))
                _post(admin_port, "/deployments", {"uri": f"http://127.0.0.1:{worker_port}"})
            _post(port, "/factorial-0/factorial", 1)
            begin = time.perf_counter()
            _post(port, "/factorial-0/factorial", n)
            return time.perf_counter() - begin


def _post(port: int, path: str, content: object) -> None:
    """Send a request, again and again until the server is ready for it."""
    while True:
        with suppress(OSError), closing(HTTPConnection("127.0.0.1", port, PATIENCE)) as api:
            _send(api, "POST", path, content)
            return
        time.sleep(0.05)


def _send(api: HTTPConnection, method: str, path: str, content: object = None) -> float:
    """Send a request. Returns the milliseconds that it took."""
    begin = time.perf_counter()
    api.request(method, path, json.dumps(content), {"content-type": "application/json"})
    with api.getresponse() as response:
        response.read()
    if response.status >= 300:
        raise OSError(f"{method} {path}: {response.status}")
    return (time.perf_counter() - begin) * 1000


def with_finished_promises(count: int) -> dict[str, float]:
    """Start a devserver with finished promises, get some of them, and create others."""
    with Server() as server, closing(HTTPConnection("127.0.0.1", server.port)) as api:
        server.process.kill()
        with closing(open_database(str(server.data / "devserver.db"))) as db, transaction(db):
            for i in range(count):
                promises.create(db, CreatePromise(f"promise-{i}", timeout=FAR), Caller(), 0)
                promises.complete(db, f"promise-{i}", CompletePromise("RESOLVED"), Caller(), 0)
        begin = time.perf_counter()
        server.start()
        start = time.perf_counter() - begin
        numbers = range(0, count, max(count // SAMPLES, 1))
        gets = [_send(api, "GET", f"/promises/promise-{i}") for i in numbers]
        new = [{"id": f"new-{i}", "timeout": FAR} for i in range(SAMPLES)]
        creates = [_send(api, "POST", "/promises", promise) for promise in new]
    return {"start, s": start, "get, ms": median(gets), "create, ms": median(creates)}
