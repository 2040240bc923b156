"""Mistakes of a new user, and the exact messages that the scripts print for them."""

from __future__ import annotations

import base64
import json
import math
import os
import signal
import socket
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from demo.cluster import ROOT, Cluster, free_ports
from tests.api import FAR, complete, create, encoded
from tests.listener import Listener
from tests.programs import run, start
from tests.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from demo.processes import Process

START = "Start it with `uv run python -m devserver`, or set RESONATE_HOST."
LEGACY = (
    "SDK 0.6.x needs a legacy server: "
    "`uv run python -m devserver`, or `resonate serve` up to v0.8.2."
)


def unreachable(port: int) -> str:
    return f"Cannot reach the Resonate server at http://localhost:{port}. {START}"


SCRIPTS = pytest.mark.parametrize("script", ["factorial_client.py", "factorial_worker.py"])


def ask(n: int, env: dict[str, str]) -> Process:
    """Run the client with these environment variables."""
    return run("factorial_client.py", str(n), env=env)


def error_of(script: str, env: dict[str, str]) -> str:
    """Run a script that fails, and return the one line that it prints."""
    is_client = script == "factorial_client.py"
    failed = run(script, *["5"] * is_client, env=env)
    assert (failed.wait(), failed.output) == (1, [])
    (line,) = failed.errors
    prefix = "factorial(5) failed: " if is_client else ""
    assert line.startswith(prefix)
    return line.removeprefix(prefix)


def ports(store: int, messages: int) -> dict[str, str]:
    return {"RESONATE_PORT_STORE": str(store), "RESONATE_PORT_MESSAGE_SOURCE": str(messages)}


def start_server(port: int, poll_port: int, env: dict[str, str] | None = None) -> Process:
    """Start a devserver on given ports, and wait until it takes requests."""
    server = start("-m", "devserver", "--memory", env=ports(port, poll_port) | (env or {}))
    server.wait_for("Watch it")
    return server


@contextmanager
def web_server(status: int, body: bytes) -> Iterator[int]:
    """Answer each request in the same way."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


class TestClientAndServer:
    def test_no_server(self) -> None:
        port, other = free_ports(2)
        assert error_of("factorial_client.py", ports(port, other)) == unreachable(port)

    def test_no_messages(self, devserver: Cluster) -> None:
        (missing,) = free_ports(1)
        env = ports(int(devserver.url.rpartition(":")[2]), missing)
        assert error_of("factorial_client.py", env) == unreachable(missing)

    @pytest.mark.parametrize(
        ("status", "body", "found"),
        [
            (410, b"Gone", "a Resonate server of version 0.9 or later (410 Gone)"),
            (404, b"<h1>Nothing here</h1>", "not a Resonate server (404 Not Found)"),
            (200, b"<h1>Welcome</h1>", "not a Resonate server (200 OK)"),
            (200, b"[]", "not a Resonate server (200 OK)"),
        ],
    )
    @SCRIPTS
    def test_another_kind_of_server(
        self, script: str, status: int, body: bytes, found: str
    ) -> None:
        with web_server(status, body) as port:
            error = error_of(script, ports(port, port))
        assert error == f"The program at http://localhost:{port} is {found}. {LEGACY}"

    def test_a_program_that_does_not_speak_http(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            threading.Thread(target=greet_all, args=(listener,), daemon=True).start()
            port = listener.getsockname()[1]
            error = error_of("factorial_client.py", ports(port, port))
            listener.shutdown(socket.SHUT_RDWR)
        assert error == unreachable(port)

    @SCRIPTS
    def test_a_server_that_asks_for_a_password(self, script: str) -> None:
        port, poll_port = free_ports(2)
        secret = {"RESONATE_USERNAME": "me", "RESONATE_PASSWORD": "secret"}
        with start_server(port, poll_port, secret):
            env = ports(port, poll_port)
            at = f"The Resonate server at http://localhost:{port}"
            variables = "RESONATE_USERNAME and RESONATE_PASSWORD"
            assert error_of(script, env) == f"{at} needs credentials. Set {variables}."
            error = error_of(script, env | secret | {"RESONATE_PASSWORD": "guess"})
            assert error == f"{at} rejected these credentials. Check {variables}."
            with start("factorial_worker.py", env=env | secret):
                assert ask(5, env | secret).output == ["Result: 120"]

    def test_a_server_that_comes_back_with_a_password(self) -> None:
        """The worker reports it, and continues when the server accepts it again."""
        port, poll_port = free_ports(2)
        with start_server(port, poll_port):
            worker = start("factorial_worker.py", env=ports(port, poll_port))
            assert ask(5, ports(port, poll_port)).output == ["Result: 120"]
        with worker:
            secret = {"RESONATE_USERNAME": "me", "RESONATE_PASSWORD": "new"}
            with start_server(port, poll_port, secret):
                worker.wait_for("Trying again")
            with start_server(port, poll_port):
                assert ask(5, ports(port, poll_port)).output == ["Result: 120"]
        assert worker.errors[0].startswith("Lost the server")
        assert worker.errors[1] == (
            f"The Resonate server at http://localhost:{poll_port} needs credentials. "
            "Set RESONATE_USERNAME and RESONATE_PASSWORD. Trying again."
        )


def greet_all(listener: socket.socket) -> None:
    """Greet each client as an SSH server does."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")


class TestWaiting:
    def test_no_worker(self, cluster: Cluster) -> None:
        client = cluster.start_client(5)
        client.wait_for("Still waiting")
        cluster.start_workers(1)
        assert client.wait() == 0
        assert client.output == ["Result: 120"]
        (hint,) = client.errors
        assert hint == (
            "Still waiting for factorial-5. Is a worker in group factorial-worker running?"
        )

    def test_a_waiting_client_shows_for_how_long(self, cluster: Cluster, tmp_path: Path) -> None:
        cluster.start_workers(2, pace=0.2)
        script = f"'{sys.executable}' '{ROOT}/factorial_client.py' 12 > '{tmp_path}/result'"
        with Terminal(["/bin/sh", "-c", script], cluster.env) as terminal:
            terminal.wait_for_text("Waiting for factorial-12: 1 s")
            terminal.wait_for(lambda _: terminal.process.poll() is not None)
            assert [line for line in terminal.lines if line] == [], "the client erases the line"
        assert (tmp_path / "result").read_text() == f"Result: {math.factorial(12)}\n"

    def test_ctrl_c(self, cluster: Cluster) -> None:
        (worker,) = cluster.start_workers(1, pace=0.1)
        client = cluster.start_client(10)
        worker.wait_for("factorial(8)")
        client.send_signal(signal.SIGINT)
        assert client.wait() == 130
        assert client.output == []
        assert client.errors == [
            "Interrupted. The call continues. Run the client again to get its result."
        ]
        again = cluster.start_client(10)
        assert again.wait() == 0
        assert again.output == ["Result: 3628800"]


class TestAnswers:
    def test_rejected(self, cluster: Cluster, http: httpx.Client) -> None:
        create(http, "factorial-7", key="factorial-7")
        complete(http, "factorial-7", "REJECTED", '{"__error__": "no luck today"}')
        client = cluster.start_client(7)
        assert client.wait() == 1
        assert client.output == []
        assert client.errors == ["factorial(7) failed: no luck today"]

    def test_canceled_while_the_client_waits(self, cluster: Cluster, http: httpx.Client) -> None:
        (worker,) = cluster.start_workers(1, pace=0.2)
        client = cluster.start_client(9)
        worker.wait_for("factorial(5)")
        complete(http, "factorial-9", "REJECTED_CANCELED")
        assert client.wait() == 1
        canceled = "[200.00000] Promise factorial-9 canceled"
        assert client.errors == [f"factorial(9) failed: {canceled}"]
        later = cluster.start_client(10)
        assert later.wait() == 1, "it needs the canceled promise"
        assert later.errors == [f"factorial(10) failed: ResonateCanceledError: {canceled}"]
        worker.send_signal(signal.SIGTERM)
        assert worker.wait() == 0, "the worker has survived"

    def test_timed_out(self, cluster: Cluster, http: httpx.Client) -> None:
        create(http, "factorial-7", key="factorial-7", timeout=1000)
        client = cluster.start_client(7)
        assert client.wait() == 1
        assert client.errors == [
            "factorial(7) failed: [201.00000] Promise factorial-7 timedout at 1.0"
        ]


class TestWorkerAndServer:
    def test_a_worker_may_start_first(self, cluster: Cluster) -> None:
        cluster.server.kill()
        worker = cluster.launch_worker()
        worker.wait_for("Waiting for it")
        cluster.start_server()
        worker.wait_for("is running")
        worker.wait_for("Connected")
        assert worker.errors == [
            f"Cannot reach the Resonate server at {cluster.url}. {START} Waiting for it.",
            f"Connected to the server at {cluster.url}.",
        ]
        client = cluster.start_client(5)
        assert client.wait() == 0
        assert client.output == ["Result: 120"]

    def test_a_worker_reconnects(self, cluster: Cluster) -> None:
        (worker,) = cluster.start_workers(1)
        cluster.server.kill()
        worker.wait_for("Lost")
        cluster.start_server()
        worker.wait_for("again")
        assert worker.errors == [
            f"Lost the server at {cluster.poll_url}. Waiting for it.",
            "Connected to the server again.",
        ]
        client = cluster.start_client(5)
        assert client.wait() == 0
        assert client.output == ["Result: 120"]

    def test_sigterm_while_its_calls_wait(self, cluster: Cluster) -> None:
        worker, _ = cluster.start_workers(2, pace=0.1)
        client = cluster.start_client(14)
        cluster.wait_for_worker("factorial(7)")
        worker.send_signal(signal.SIGTERM)
        assert worker.wait() == 0
        assert client.wait() == 0
        assert client.output == [f"Result: {math.factorial(14)}"]

    def test_two_versions_at_once(self, cluster: Cluster, tmp_path: Path) -> None:
        script = (ROOT / "factorial_worker.py").read_text()
        newer = script.replace('print(f"factorial({n})', 'print(f"the newer factorial({n})')
        assert newer.count("the newer") == 3
        (tmp_path / "newer_worker.py").write_text(newer)
        command = [sys.executable, str(tmp_path / "newer_worker.py"), "--pace", "0.01"]
        worker = cluster.launch("newer worker", command)
        worker.wait_for("is running")
        (older,) = cluster.start_workers(1)
        client = cluster.start_client(20)
        assert client.wait() == 0
        assert client.output == [f"Result: {math.factorial(20)}"]
        worker.stop()
        assert worker.printed("the newer factorial(")
        assert any(line.startswith("factorial(") for line in older.output)


def call(*args: object, **kwargs: object) -> dict[str, object]:
    return {"func": "factorial", "args": args, "kwargs": kwargs, "version": 1}


NOT_A_CALL = "this promise was not created by a Resonate SDK"


class TestStrangeCalls:
    """Calls that no SDK makes. The workers reject each of them and keep running."""

    @pytest.mark.parametrize(
        ("param", "reason"),
        [
            (call(-1), "n must be a non-negative integer, not -1"),
            (call("5"), "n must be a non-negative integer, not '5'"),
            (call(5.0), "n must be a non-negative integer, not 5.0"),
            (call(n=True), "n must be a non-negative integer, not True"),
            (call(None), "n must be a non-negative integer, not None"),
            (call(), "missing a required argument: 'n'"),
            (call(1, 2), "too many positional arguments"),
            (call(1, m=2), "got an unexpected keyword argument 'm'"),
            (call(1) | {"func": "fibonacci"}, "function fibonacci not found in registry"),
            (call(1) | {"version": 2}, "function factorial version 2 not found in registry"),
            (call(1) | {"args": 1}, "Value after * must be an iterable, not int"),
            (call(1) | {"func": ["factorial"]}, NOT_A_CALL),
            (call(1) | {"version": "1"}, NOT_A_CALL),
            ("factorial", NOT_A_CALL),
            ({"n": 5}, NOT_A_CALL),
            ([[[]]], NOT_A_CALL),
        ],
    )
    def test_is_rejected(
        self, devserver: Cluster, crew: list[Process], param: object, reason: str
    ) -> None:
        rejected(devserver, reason, data=encoded(json.dumps(param)))
        still_work(devserver, crew)

    @pytest.mark.parametrize("data", ["", "Zm9v", "/w==", encoded("null")])
    def test_is_rejected_if_it_is_not_json(
        self, devserver: Cluster, crew: list[Process], data: str
    ) -> None:
        rejected(devserver, None, data=data)
        still_work(devserver, crew)


@pytest.fixture(scope="module")
def crew(devserver: Cluster) -> list[Process]:
    """Two workers for all strange calls."""
    return devserver.start_workers(2)


def rejected(cluster: Cluster, reason: str | None, data: str) -> None:
    """Create a call that cannot be run, and check the error that its caller gets."""
    name = f"strange-{os.urandom(4).hex()}"
    with (
        httpx.Client(base_url=cluster.url) as http,
        Listener(cluster.poll_url, "caller", name) as listener,
    ):
        tags = {"resonate:invoke": "poll://any@factorial-worker"}
        create(http, name, key=name, param={"data": data}, tags=tags)
        body = {"id": "caller", "timeout": FAR, "recv": f"poll://uni@caller/{name}"}
        answer = http.post(f"/promises/subscribe/{name}", json=body).json()
        promise = answer["promise"]
        if promise["state"] == "PENDING":
            message = listener.next()
            assert message is not None
            promise = message["promise"]
        assert promise["state"] == "REJECTED"
        said = json.loads(base64.b64decode(promise["value"]["data"]))["__error__"]
        assert said == (reason or said)


def still_work(cluster: Cluster, crew: list[Process]) -> None:
    client = cluster.start_client(int.from_bytes(os.urandom(1)) % 50)
    assert client.wait() == 0
    assert client.output[0].startswith("Result: ")
    assert not any("unexpected exception" in line for worker in crew for line in worker.errors)


class TestEnvironment:
    @pytest.mark.parametrize(
        ("name", "value", "address"),
        [
            ("RESONATE_PORT_STORE", "abc", "http://localhost:abc"),
            ("RESONATE_PORT_STORE", "", "http://localhost:"),
            ("RESONATE_PORT_STORE", "70000", "http://localhost:70000"),
            ("RESONATE_HOST", "localhost", "localhost:8001"),
            ("RESONATE_HOST", "http://localhost:8001", "http://localhost:8001:8001"),
            ("RESONATE_HOST", "http://localhost/", "http://localhost/:8001"),
            ("RESONATE_HOST_STORE", "ftp://localhost", "ftp://localhost:8001"),
            ("RESONATE_HOST_STORE", "http://", "http://:8001"),
        ],
    )
    @SCRIPTS
    def test_a_wrong_address(self, script: str, name: str, value: str, address: str) -> None:
        assert error_of(script, {name: value}) == (
            f"{address} is not the address of a server. RESONATE_HOST must be like "
            "http://localhost, and the ports must be from 1 to 65535."
        )

    def test_output_that_is_not_utf_8(self, cluster: Cluster, monkeypatch: Any) -> None:
        monkeypatch.setenv("PYTHONIOENCODING", "ascii")
        monkeypatch.setenv("LC_ALL", "C")
        (worker,) = cluster.start_workers(1)
        client = cluster.start_client(50)
        assert client.wait() == 0
        assert client.output == [f"Result: {math.factorial(50)}"]
        assert client.errors == worker.errors == []

    def test_a_closed_pipe(self, cluster: Cluster) -> None:
        """After `python factorial_worker.py | head -1`, another worker takes over its calls."""
        worker = f"'{sys.executable}' '{ROOT}/factorial_worker.py'"
        reader = cluster.launch("pipe", ["sh", "-c", f"{{ {worker}; echo $? >&2; }} | head -n 1"])
        reader.wait_for("is running")
        client = cluster.start_client(10)
        assert reader.wait() == 0
        assert reader.errors == ["1"]
        cluster.start_workers(1)
        assert client.wait() == 0
        assert client.output == ["Result: 3628800"]
