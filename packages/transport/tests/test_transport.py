"""What the README says, with real servers and processes."""

import json
import math
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, suppress
from datetime import date  # noqa: F401 - the table of the README uses it
from functools import partial, wraps
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from resonate import Context, Resonate
from resonate.errors import ResonateStoreError
from resonate.retry_policies import Never

from resonate_transport import remote

FOLDER = Path(__file__).parent
FAR = 2**50  # a time that does not come (milliseconds)


class Server:
    """devserver or the real server, at an address that is in the environment."""

    def __init__(self, folder: Path, *options: str, program: str = "devserver") -> None:
        self.ports = free_port(), free_port()
        self.command = [sys.executable, "-m", program, f"--db={folder / 'server.db'}", *options]
        if program != "devserver":
            addresses = {"api-http": self.ports[0], "aio-poll": self.ports[1]}
            addresses |= {"api-grpc": "0", "metrics": "0"}
            self.command = [program, "serve", f"--aio-store-sqlite-path={folder / 'server.db'}"]
            self.command += [f"--{n}-addr=127.0.0.1:{port}" for n, port in addresses.items()]
        self.cleanup = ExitStack()
        env = self.cleanup.enter_context(pytest.MonkeyPatch.context())
        env.setenv("RESONATE_PORT_STORE", self.ports[0])
        env.setenv("RESONATE_PORT_MESSAGE_SOURCE", self.ports[1])
        self.cleanup.callback(self.kill)

    def start(self) -> None:
        self.process = subprocess.Popen(self.command)
        for port in self.ports:
            while True:
                assert self.process.poll() is None, "the server has ended"
                with suppress(OSError), socket.create_connection(("127.0.0.1", int(port)), 5):
                    break
                time.sleep(0.02)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def client(self, make: Callable[..., Resonate] = remote, **options: Any) -> Resonate:
        client = make(**options)
        client.start()
        self.cleanup.callback(client.stop)
        return client

    def run(self, program: Callable[[], None]) -> subprocess.Popen[str]:
        code = f"import test_transport; test_transport.{program.__name__}()"
        command = [sys.executable, "-c", code]
        process = subprocess.Popen(command, cwd=FOLDER, stdout=subprocess.PIPE, text=True)
        self.cleanup.callback(process.communicate)
        self.cleanup.callback(process.kill)
        return process


def free_port() -> str:
    while True:  # below the ports that the system gives to outgoing connections
        port = random.randrange(10_000, 30_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return str(port)


@pytest.fixture(params=["devserver", *filter(None, [os.environ.get("RESONATE_BINARY")])])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path, program=request.param)
    with server.cleanup:
        server.start()
        yield server


def line(program: subprocess.Popen[str]) -> str:
    assert program.stdout
    return program.stdout.readline().strip()


def worker() -> None:
    resonate = remote(group="factorial-worker")

    @resonate.register
    def factorial(ctx: Context, n: int) -> Generator[Any, Any, int]:
        print(f"factorial({n})", flush=True)
        if n <= 1:
            return 1
        result: int = yield ctx.rpc("factorial", n - 1).options(
            target="poll://any@factorial-worker", id=f"factorial-{n - 1}"
        )
        return n * result

    resonate.start()
    Event().wait()


def test_a_recursion_continues_after_a_crash_of_the_server(server: Server) -> None:
    workers = [server.run(worker) for _ in range(3)]
    client = server.client(group="client").options(target="poll://any@factorial-worker")
    handle = client.begin_rpc("factorial-100", "factorial", 100)
    assert line(workers[0]).startswith("factorial(")
    server.kill()
    server.start()
    assert handle.result() == math.factorial(100)


def waiting() -> None:
    resonate = remote(group="waiting")
    resonate.register(show)
    late, first = resonate.get("late"), resonate.get("first")
    print("started", flush=True)
    late.done()  # subscribes to this one before the next line subscribes to the other
    print(first.result(), flush=True)
    print(late.result(), resonate.get("late").result(), flush=True)


def test_a_result_arrives_that_was_sent_while_the_program_was_disconnected(server: Server) -> None:
    witness = server.client(group="witness")
    witness.register(show)
    for name in ("late", "first"):
        witness.promises.create(name, FAR, ikey=name)
    program = server.run(waiting)
    assert line(program) == "started"
    witness.promises.resolve("first", ikey="first", data='"1"')
    assert line(program) == "1"
    program.send_signal(signal.SIGSTOP)
    server.kill()
    server.start()
    late = witness.get("late")
    late.done()
    here = witness.options(target="poll://any@witness")
    here.rpc("subscribed", "show", 1)
    witness.promises.resolve("late", ikey="late", data='"2"')
    assert late.result() == "2"
    here.rpc("sent", "show", 1)  # the server has now tried to tell the program, too
    program.send_signal(signal.SIGCONT)
    assert line(program) == "2 2"


def forked() -> None:
    promises = remote().promises
    promises.create("before", FAR, ikey="before")
    child = os.fork()
    for i in range(300):
        name = f"{'parent' if child else 'child'}-{i}"
        assert promises.create(name, FAR, ikey=name).id == name
    if child:
        assert os.waitpid(child, 0)[1] == 0


def test_a_parent_and_its_child_do_not_share_a_connection(server: Server) -> None:
    assert server.run(forked).wait() == 0


class RefusedError(Exception):
    """An exception of the program's own."""


def act(_: Context, code: str) -> Any:
    if code.startswith("raise "):
        raise eval(code.removeprefix("raise "))
    return eval(code.removeprefix("return "))


def around(ctx: Context, step: str, code: str) -> Generator[Any, Any, str]:
    try:
        return repr((yield ctx.run(act, code).options(id=step, retry_policy=Never())))
    except Exception as e:  # noqa: BLE001 - each row has its own
        return repr(e)


def show(_: Context, value: Any) -> str:
    return repr(value)


def outcome(call: Callable[[], Any]) -> str:
    try:
        return repr(call())
    except Exception as e:  # noqa: BLE001 - each row has its own
        return repr(e)


def test_the_table_of_values_is_true_in_both_directions(server: Server) -> None:
    text = (FOLDER.parent / "README.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| (?:(\w+): )?`(.+?)` \| `(.+)` \| `(.+)` \|$", text, re.MULTILINE)
    assert len(table) == 8
    clients = [server.client(Resonate.remote, group="0"), server.client(group="1")]
    for client, function in product(clients, (act, around, show)):
        client.register(function)
    for row, (where, code, *columns) in enumerate(table):
        for writer, reader in product((0, 1), repeat=2):
            name = f"{row}-{writer}-{reader}"
            write, read = clients[writer].options(retry_policy=Never()), clients[reader]
            if where != "call":
                assert write.run(f"{name}-first", "around", name, code) == columns[writer]
                assert read.run(f"{name}-second", "around", name, code) == columns[reader]
            if where != "step":
                outcome(partial(write.run, f"{name}-call", "act", code))
                assert outcome(read.get(f"{name}-call").result) == columns[reader]
            if not where:
                there = write.options(target=f"poll://any@{reader}")
                value = eval(code.removeprefix("return "))
                assert there.rpc(f"{name}-argument", "show", value) == columns[reader]


def test_a_value_cannot_run_code(server: Server, tmp_path: Path) -> None:
    made = tmp_path / "made"
    pickled = {"py/reduce": [{"py/function": "os.mkdir"}, {"py/tuple": [str(made)]}]}
    hostile = {"resonate:format-py": json.dumps(pickled)}
    call = json.dumps({"func": "show", "args": ["data"], "kwargs": {}, "version": 1})
    tags = {"resonate:invoke": "poll://any@waiting"}
    promises = server.client(Resonate.remote).promises
    promises.create("late", FAR, ikey="late")
    promises.create("first", FAR, ikey="first", headers=hostile, data=call, tags=tags)
    program = server.run(waiting)
    assert [line(program), line(program)] == ["started", "'data'"]
    promises.resolve("late", ikey="late", headers=hostile, data='"data"')
    assert line(program) == "data data"
    assert not made.exists()


@pytest.mark.parametrize("server", ["devserver"], indirect=True)
def test_pending_calls_and_a_server_that_is_down_delay_nobody(server: Server) -> None:
    down = remote(store_port=free_port())
    Thread(target=down.promises.get, args=("x",), daemon=True).start()
    client = server.client(group="many")
    client.register(show)
    here = client.options(target="poll://any@many")
    began = time.monotonic()
    for i in range(1500):
        client.begin_rpc(f"pending-{i}", "nobody").done()
    here.rpc("before", "show", 1)
    took = time.monotonic() - began
    began = time.monotonic()
    here.rpc("after", "show", 1)
    assert time.monotonic() - began < took / 4


def test_passwords_decorators_and_conflicts_work_as_in_the_sdk(tmp_path: Path) -> None:
    server = Server(tmp_path, "--username=user", "--password=secret")
    with server.cleanup:
        server.start()
        client = server.client(group="here", auth=("user", "secret"))

        @client.register
        @wraps(show)
        def decorated(*args: Any, **kwargs: Any) -> Any:
            return args[1] + kwargs["b"]

        assert client.options(target="poll://any@here").rpc("sum", "show", 1, b=2) == 3
        client.promises.create("taken", FAR, ikey="another")
        with pytest.raises(ResonateStoreError, match="40900"):
            client.rpc("taken", "show", 1)


def test_a_client_stops_while_it_is_connected_and_while_it_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server(tmp_path, "--username=user", "--password=secret")
    with server.cleanup:
        server.start()
        connected, refused = (remote(auth=("user", word)) for word in ("secret", "wrong"))
        connected.start()
        connected.promises.create("x", FAR, ikey="x")
        connected.stop()
        refused.start()
        while "401" not in caplog.text:
            time.sleep(0.02)
        server.kill()
        refused.stop()


def test_only_a_request_that_may_be_repeated_uses_the_kept_connection() -> None:
    seen: list[int] = []
    promise = json.dumps({"id": "x", "state": "PENDING", "timeout": FAR, "createdOn": 1}).encode()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            seen.append(self.client_address[1])
            self.close_connection = len(seen) == 3  # without an answer, as in a crash
            if not self.close_connection:
                self.send_response(200)
                self.send_header("content-length", str(len(promise)))
                self.end_headers()
                self.wfile.write(promise)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as fake:
        Thread(target=fake.serve_forever, daemon=True).start()
        promises = remote(store_port=str(fake.server_port)).promises
        for key in ("x", "x", "x", None):
            promises.create("x", FAR, ikey=key)
        fake.shutdown()
    assert seen[0] == seen[1] == seen[2]
    assert len(set(seen[2:])) == 3
