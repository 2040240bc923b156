"""Mistakes of a new user: the SDK and the scripts print what docs/troubleshooting.md says."""

from __future__ import annotations

import json
import socket
import sys
from typing import TYPE_CHECKING

from demo.cluster import free_ports
from tests.pages import commands
from tests.programs import FAR, ROOT, run, start

if TYPE_CHECKING:
    from resonate.models.store import PromiseStore

    from demo.cluster import Cluster
    from demo.processes import Process

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
WORKER = """
from threading import Event
from resonate import Resonate

resonate = Resonate.remote(group="wrong")


@resonate.register
def itself(ctx):
    yield ctx.rpc("itself").options(target="poll://any@wrong", id=ctx.id)


@resonate.register
def call(ctx, n):
    yield ctx.sleep(0)


@resonate.register
def keys(ctx):
    return {(1, 2): 3}


resonate.start()
Event().wait()
"""
# The functions that are called without arguments, and why that ends the worker.
CALLS = {
    "itself": "AWT must follow LFI/RFI. Value must follow AWT.",
    "call": "call() missing 1 required positional argument: 'n'",
    "keys": "keys must be str, int, float, bool or None, not tuple",
    "unknown": "function unknown not found in registry",
}


def ports(store: int, messages: int) -> dict[str, str]:
    return {"RESONATE_PORT_STORE": str(store), "RESONATE_PORT_MESSAGE_SOURCE": str(messages)}


def assert_fails(client: Process, reason: str) -> None:
    """Assert that a client fails with this reason, and that the page quotes it."""
    assert (client.wait(), client.output) == (1, [])
    # A thread of the SDK may print into the end of the line that it cannot connect.
    assert client.printed(f"factorial(5) failed: {reason}"), client.errors
    assert reason in PAGE


def test_the_client_starts_first_then_the_server_then_a_worker(cluster: Cluster) -> None:
    cluster.server.kill()
    client = cluster.start_client(5)
    client.wait_for(f"Networking. Cannot connect to {cluster.url}. Retrying in 1 sec")
    cluster.start_server()
    cluster.start_workers(1)
    assert (client.wait(), client.output) == (0, ["Result: 120"])
    assert "Networking. Cannot connect to http://localhost:8001. Retrying in 1 sec" in PAGE


def test_a_server_of_version_0_9() -> None:
    answer = b'HTTP/1.1 410 Gone\r\nContent-Length: 17\r\n\r\n{"error": "Gone"}'
    (closed,) = free_ports(1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        env = ports(listener.getsockname()[1], closed)
        with start("factorial_client.py", "5", env=env) as client, listener.accept()[0] as peer:
            peer.recv(65_536)
            peer.sendall(answer)
            assert_fails(client, "AttributeError(\"'str' object has no attribute 'get'\")")


def test_a_server_with_a_password() -> None:
    port, poll_port = free_ports(2)
    env = ports(port, poll_port)
    secret = env | {"RESONATE_USERNAME": "me", "RESONATE_PASSWORD": "secret"}
    refused = "ResonateStoreError('The request is unauthorized')"
    with start("-m", "devserver", "--memory", env=secret) as server:
        server.wait_for("Watch it")
        with start("factorial_worker.py", env=secret) as worker:
            worker.wait_for("is running")
            assert_fails(run("factorial_client.py", "5", env=env), refused)
            wrong = secret | {"RESONATE_PASSWORD": "guess"}
            assert_fails(run("factorial_client.py", "5", env=wrong), refused)
            assert run("factorial_client.py", "5", env=secret).output == ["Result: 120"]


def test_an_id_that_is_taken(cluster: Cluster, promises: PromiseStore) -> None:
    promises.create("factorial-5", FAR, ikey="another call")
    reason = "ResonateStoreError('The specified promise already exists')"
    assert_fails(cluster.start_client(5), reason)


def test_calls_that_end_their_workers(cluster: Cluster, promises: PromiseStore) -> None:
    """Each of them is canceled with the page's command, so that it does not end the next worker."""
    (cancel,) = commands(ROOT / "docs" / "troubleshooting.md")
    cancel = cancel.replace("http://localhost:8001", cluster.url)
    for function, reason in CALLS.items():
        worker = cluster.launch("worker", [sys.executable, "-c", WORKER])
        call = {"func": function, "args": [], "kwargs": {}, "version": 1}
        tags = {"resonate:invoke": "poll://any@wrong"}
        promises.create(function, FAR, ikey=function, data=json.dumps(call), tags=tags)
        assert worker.wait() == 1
        assert worker.printed("Resonate encountered an unexpected exception and had to shut down.")
        assert worker.printed(reason)
        assert reason in PAGE
        command = cancel.replace("ID", function)
        assert cluster.launch("curl", ["sh", "-c", command]).wait() == 0
        assert promises.get(function).state == "REJECTED_CANCELED"
