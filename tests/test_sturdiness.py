"""Odd promises, refusals and blocked terminals neither end a worker nor block a recursion."""

from __future__ import annotations

import gc
import json
import math
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from resonate.registry import Registry

from demo.cluster import ROOT, Cluster
from demo.proxy import Proxy
from plumbing.connection import Address, Server
from plumbing.messages import Messages
from plumbing.store import Store
from tests.api import complete, create, encoded
from tests.terminal import Terminal

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from demo.processes import Process
    from demo.proxy import Passage

pytestmark = pytest.mark.usefixtures("closed_connections")

WORKER = """
import signal
import subprocess
import sys
from threading import Event

from resonate import Context

from plumbing import Resonate
from plumbing.terminal import run

resonate = Resonate.remote(group="tests", workers=1)


@resonate.register
def text(ctx: Context, size: int) -> str:
    return "x" * size


@resonate.register
def sends(ctx: Context, size: int):
    return (yield ctx.rpc("length", "x" * size).options(target="poll://any@tests", id="length"))


@resonate.register
def length(ctx: Context, text: str) -> int:
    return len(text)


@resonate.register
def blocked_signals(ctx: Context) -> str:
    program = "import signal; print(signal.pthread_sigmask(signal.SIG_BLOCK, []))"
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    return child.stdout.strip()


@resonate.register
def stringify(ctx: Context, *values):
    return repr(values)


@resonate.register
def asks(ctx: Context, id: str, function: str):
    try:
        return (yield ctx.rpc(function).options(target="poll://any@nobody", id=id))
    except Exception as e:
        return f"{type(e).__name__}: {e}"


def main():
    resonate.start()
    print("is running")
    Event().wait()


run(main, "stopped", 0)
"""

CLIENT = """
import json
import sys

from plumbing import Resonate

resonate = Resonate.remote(group="caller").options(target="poll://any@tests")
try:
    print(str(resonate.rpc(sys.argv[1], sys.argv[2], *json.loads(sys.argv[3])))[:200])
except Exception as e:
    sys.exit(f"{type(e).__name__}: {e}")
"""


def start_worker(cluster: Cluster) -> Process:
    worker = cluster.launch("worker", [sys.executable, "-c", WORKER])
    worker.wait_for("is running")
    return worker


def call(cluster: Cluster, id: str, function: str, *args: object) -> str:  # noqa: A002
    """Call a function of the worker above, and return what the client prints."""
    command = [sys.executable, "-c", CLIENT, id, function, json.dumps(args)]
    return result(cluster.launch("client", command))


def result(client: Process) -> str:
    client.wait()
    return "\n".join(client.output + client.errors)


class TestPromisesWithoutAnIdempotencyKey:
    def test_a_pending_promise_fails_only_the_calls_that_need_it(
        self, cluster: Cluster, http: httpx.Client
    ) -> None:
        create(http, "factorial-5")
        workers = cluster.start_workers(2)
        reason = "factorial-5: another promise with this id exists, and it is for a different call"
        assert result(cluster.start_client(8)) == f"factorial(8) failed: {reason}"
        assert result(cluster.start_client(5)) == f"factorial(5) failed: {reason}"
        assert result(cluster.start_client(4)) == "Result: 24"
        assert all(worker.alive for worker in workers)

    def test_a_completed_promise_is_used(self, cluster: Cluster, http: httpx.Client) -> None:
        create(http, "factorial-5")
        complete(http, "factorial-5", value="120")
        cluster.start_workers(1)
        assert result(cluster.start_client(8)) == f"Result: {math.factorial(8)}"
        assert result(cluster.start_client(5)) == "Result: 120"

    def test_the_same_call_is_used(self, cluster: Cluster, http: httpx.Client) -> None:
        call = {"func": "factorial", "args": [5], "kwargs": {}, "version": 0}
        tags = {"resonate:invoke": "poll://any@factorial-worker"}
        create(http, "factorial-5", param={"data": encoded(json.dumps(call))}, tags=tags)
        cluster.start_workers(1)
        assert result(cluster.start_client(8)) == f"Result: {math.factorial(8)}"


class TestLargeValues:
    """The limit of devserver is 16 MB; a real server has none."""

    def test_a_large_result_rejects_its_promise(self, devserver: Cluster) -> None:
        worker = start_worker(devserver)
        answer = call(devserver, "large-result", "text", 21_000_000)
        assert "the server refused its result: too large: 27 MB" in answer
        assert call(devserver, "small-result", "text", 5) == "xxxxx"
        assert worker.alive
        worker.kill()

    def test_a_large_argument_fails_the_calling_function(self, devserver: Cluster) -> None:
        worker = start_worker(devserver)
        answer = call(devserver, "large-argument", "sends", 21_000_000)
        assert "length: the server refused to create it: too large: " in answer
        assert call(devserver, "small-argument", "length", "xxxxx") == "5"
        assert worker.alive
        worker.kill()


class TestOutput:
    def test_a_blocked_terminal_does_not_block_calls(self, cluster: Cluster) -> None:
        command = [sys.executable, str(ROOT / "factorial_worker.py")]
        with Terminal(command, cluster.env) as terminal:
            terminal.wait_for_text("is running")
            terminal.press("\x13")  # Ctrl-S
            assert result(cluster.start_client(20)) == f"Result: {math.factorial(20)}"
            terminal.press("\x11")  # Ctrl-Q
            terminal.wait_for_text(f"factorial(20) = {math.factorial(20)}")

    @pytest.mark.parametrize("script", ["factorial_worker.py", "factorial_client.py 5"])
    @pytest.mark.parametrize(
        ("redirection", "words"),
        [
            (">/dev/full", "Cannot write to stdout: No space left on device. Stopped."),
            (">&-", "Cannot write to stdout: it is closed."),
        ],
    )
    def test_an_unusable_stdout_is_one_plain_line(
        self, cluster: Cluster, script: str, redirection: str, words: str
    ) -> None:
        cluster.start_workers(1)
        command = f'exec "{sys.executable}" "{ROOT}"/{script} {redirection}'
        program = cluster.launch("program", ["/bin/sh", "-c", command])
        assert (program.wait(), program.errors) == (1, [words])

    def test_a_closed_stderr_changes_nothing(self, cluster: Cluster) -> None:
        cluster.start_workers(1)
        command = f'exec "{sys.executable}" "{ROOT}"/factorial_client.py 5 2>&-'
        assert result(cluster.launch("client", ["/bin/sh", "-c", command])) == "Result: 120"


def test_a_child_process_can_be_interrupted(cluster: Cluster) -> None:
    start_worker(cluster)
    assert call(cluster, "signals", "blocked_signals") == "set()"


@pytest.mark.parametrize("name", [".", "..", "x" * 3000, "a b/../ü?#%"])
def test_a_call_may_have_any_id(cluster: Cluster, name: str) -> None:
    start_worker(cluster)
    assert call(cluster, name, "length", "four") == "4"


class TestLostNotifications:
    def test_a_client_asks_after_it_has_reconnected(self, cluster: Cluster) -> None:
        (worker,) = cluster.start_workers(1)
        dropped: list[Passage] = []

        def drop_the_first(passage: Passage) -> bool:
            if passage.step == "notify factorial-9" and not dropped:
                dropped.append(passage)
                return False
            return True

        with Proxy(drop_the_first) as proxy:
            proxy.ports = cluster.port, cluster.poll_port
            api, poll = proxy.ports_for("client")
            ports = [f"RESONATE_PORT_STORE={api}", f"RESONATE_PORT_MESSAGE_SOURCE={poll}"]
            script = str(ROOT / "factorial_client.py")
            client = cluster.launch("client", ["env", *ports, sys.executable, script, "9"])
            client.wait()
        assert dropped
        assert client.output == [f"Result: {math.factorial(9)}"]
        assert worker.alive

    # The connections stay open until the process ends.
    @pytest.mark.filterwarnings(
        "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"
    )
    def test_a_process_asks_from_time_to_time(self, cluster: Cluster, http: httpx.Client) -> None:
        store = Store(Server(Address(cluster.url, None)), Registry())
        messages = Messages(Address(cluster.poll_url, None), "group", "me", 10, store)
        messages.start()
        create(http, "quiet")
        store.promises.awaited["quiet"] = time.monotonic()  # as if the subscription were lost
        complete(http, "quiet", value="5")
        message: Any = messages.next()
        assert (message["type"], message["promise"]["id"]) == ("notify", "quiet")
        messages.stop()
        del messages, store
        gc.collect()


class TestDeletedData:
    def test_a_worker_works_for_the_new_server(self, cluster: Cluster) -> None:
        (worker,) = cluster.start_workers(1)
        assert result(cluster.start_client(6)) == "Result: 720"
        replace_data(cluster)
        assert result(cluster.start_client(6)) == "Result: 720"
        assert worker.output.count("factorial(6) = 720") == 2

    def test_a_worker_that_waited_starts_from_the_top(self, cluster: Cluster) -> None:
        (worker,) = cluster.start_workers(1, pace=1)
        client = cluster.start_client(6)
        worker.wait_for("factorial(3)")
        replace_data(cluster)
        reason = "cannot wait for it any longer: The specified promise was not found"
        assert result(client).endswith(f"factorial(6) failed: {reason}")
        assert result(cluster.start_client(6)).endswith("Result: 720")
        assert any("lost its data" in line for line in worker.errors)


def replace_data(cluster: Cluster) -> None:
    cluster.server.kill()
    for file in cluster.data.glob("*.db*"):
        file.unlink()
    cluster.start_server()


def test_a_program_can_stop(cluster: Cluster) -> None:
    program = (
        "from plumbing import Resonate\n"
        "resonate = Resonate.remote(group='tests')\n"
        "resonate.start()\n"
        "resonate.stop()\n"
        "print('stopped')"
    )
    client = cluster.launch("client", [sys.executable, "-c", program])
    assert (client.wait(), client.output, client.errors) == (0, ["stopped"], [])


class TestValuesThatRunCode:
    """jsonpickle would call a function that the value names."""

    @pytest.fixture
    def trace(self, tmp_path: Path) -> Path:
        return tmp_path / "trace"

    def bomb(self, trace: Path, data: object) -> dict[str, Any]:
        make = {"py/reduce": [{"py/function": "os.mkdir"}, {"py/tuple": [str(trace)]}]}
        value: dict[str, Any] = {"headers": {"resonate:format-py": json.dumps(make)}}
        if data is not None:
            value["data"] = encoded(json.dumps(data))
        return value

    @pytest.mark.parametrize("data", [None, {"func": "length", "args": ["four"], "version": 1}])
    def test_a_call(self, cluster: Cluster, http: httpx.Client, trace: Path, data: object) -> None:
        worker = start_worker(cluster)
        tags = {"resonate:invoke": "poll://any@tests"}
        create(http, "bomb", param=self.bomb(trace, data), tags=tags)
        wait_until_complete(http, "bomb")
        assert call(cluster, "after", "length", "four") == "4"
        assert not trace.exists()
        assert worker.alive

    @pytest.mark.parametrize("data", [None, 5])
    def test_a_result(
        self, cluster: Cluster, http: httpx.Client, trace: Path, data: object
    ) -> None:
        worker = start_worker(cluster)
        create(http, "bomb")
        body = {"state": "RESOLVED", "value": self.bomb(trace, data)}
        http.patch("/promises/bomb", json=body).raise_for_status()
        words = "only as jsonpickle" if data is None else "5"
        assert words in call(cluster, "in a worker", "asks", "bomb", "function")
        assert words in call(cluster, "bomb", "function")
        assert not trace.exists()
        assert worker.alive

    @pytest.mark.parametrize("data", [None, 5])
    def test_a_notification(
        self, cluster: Cluster, http: httpx.Client, trace: Path, data: object
    ) -> None:
        command = [sys.executable, "-c", CLIENT, "bomb", "function", "[]"]
        client = cluster.launch("client", command)
        wait_until_created(http, "bomb")
        body = {"state": "RESOLVED", "value": self.bomb(trace, data)}
        http.patch("/promises/bomb", json=body).raise_for_status()
        assert ("only as jsonpickle" if data is None else "5") in result(client)
        assert not trace.exists()


def wait_until_created(http: httpx.Client, name: str) -> None:
    while http.get(f"/promises/{name}").status_code == 404:
        time.sleep(0.05)  # the server does not tell


def wait_until_complete(http: httpx.Client, name: str) -> None:
    while http.get(f"/promises/{name}").json()["state"] == "PENDING":
        time.sleep(0.05)  # the server does not tell


PLAIN = {
    script: (ROOT / script)
    .read_text()
    .replace("from plumbing import Resonate", "from resonate import Resonate")
    for script in ("factorial_worker.py", "factorial_client.py")
}


class TestSwap:
    """The scripts run with the SDK's own class, after a change of one import."""

    def plain(self, cluster: Cluster, script: str, *arguments: str) -> Process:
        return cluster.launch(f"plain {script}", [sys.executable, "-c", PLAIN[script], *arguments])

    def test_only_the_import_differs(self) -> None:
        for script, text in PLAIN.items():
            assert "from resonate import Resonate" in text
            assert "from plumbing import" not in text
            assert len(text) == len((ROOT / script).read_text())

    @pytest.mark.parametrize("sturdy", [0, 1])
    def test_plain_and_sturdy_programs_work_together(self, cluster: Cluster, sturdy: int) -> None:
        workers = [self.plain(cluster, "factorial_worker.py") for _ in range(2)]
        workers += cluster.start_workers(2 * sturdy)
        for worker in workers:
            worker.wait_for("is running")
        assert result(self.plain(cluster, "factorial_client.py", "15")) == (
            f"Result: {math.factorial(15)}"
        )
        assert result(cluster.start_client(30)) == f"Result: {math.factorial(30)}"
        for worker in workers:
            worker.stop()
            assert worker.output[-1] == "Factorial worker stopped."
            assert worker.errors == []

    def test_an_exception_passes_in_both_directions(
        self, cluster: Cluster, http: httpx.Client
    ) -> None:
        create(http, "factorial-2")
        http.patch("/promises/factorial-2", json={"state": "REJECTED_CANCELED"})
        (worker,) = cluster.start_workers(1)
        words = "Promise factorial-2 canceled"
        assert words in result(self.plain(cluster, "factorial_client.py", "4"))
        worker.stop()
        self.plain(cluster, "factorial_worker.py").wait_for("is running")
        assert words in result(cluster.start_client(6))
