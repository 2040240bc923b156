"""`python -m tests.soak`: runs recursions for a long time, and disturbs them at random moments.

It checks every answer and every notification. Every minute it prints the server's memory, its open
files, the size of its data, and the duration of a request.
"""

from __future__ import annotations

import argparse
import base64
import json
import random
import signal
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil

from demo.cluster import ROOT, Cluster
from demo.processes import ProcessError
from tests.api import FAR, encoded
from tests.listener import Listener

if TYPE_CHECKING:
    from collections.abc import Callable

    from demo.processes import Process

WORKERS = 3
CHAINS = 3
# How long to wait for an answer (seconds). It is a safety net: the machine may be busy.
PATIENCE = 600.0
# The limits of what the server may use: memory (bytes) and open files.
MAX_MEMORY = 400_000_000
MAX_FILES = 200


class Soak:
    """Puts load on a server, and disturbs it.

    Args:
        cluster: the server.
        rng: chooses the disturbances and the sizes.
    """

    def __init__(self, cluster: Cluster, rng: random.Random) -> None:
        self.cluster = cluster
        self.rng = rng
        self.client = httpx.Client(base_url=cluster.url, timeout=60)
        self.stopping = threading.Event()
        self.answers = 0
        self.notifications = 0
        self.searches = 0
        self.events = 0
        self.kills = 0
        self.memory = self.files = 0
        self.workers: list[Process] = []
        for _ in range(WORKERS):
            self.start_worker()

    def start_worker(self) -> None:
        """Start a worker."""
        command = [sys.executable, str(ROOT / "tests" / "soak_worker.py")]
        self.workers.append(self.cluster.launch("worker", command))

    def request(self, method: str, path: str, **kwargs: Any) -> Any:
        """Send a request, and repeat it until the server answers."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                answer = self.client.request(method, path, **kwargs)
            except httpx.TransportError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
            else:
                if answer.status_code >= 400:
                    raise ProcessError(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
                return answer.json()

    # These run all the time.

    def compute(self, run: str) -> None:
        """Run a chain, wait for its result, and check it."""
        n = self.rng.randint(10, 60)
        call = {"func": "chain", "args": [run, n], "kwargs": {}, "version": 1}
        body = {"id": f"{run}-{n}", "timeout": FAR, "param": {"data": encoded(json.dumps(call))}}
        body["tags"] = {"resonate:invoke": "poll://any@soak"}
        key = {"idempotency-key": run}
        self.request("POST", "/promises", json=body, headers=key)
        deadline = time.monotonic() + PATIENCE
        while (promise := self.request("GET", f"/promises/{run}-{n}"))["state"] == "PENDING":
            if time.monotonic() > deadline:
                raise ProcessError(f"{run}-{n} has no result")
            time.sleep(0.1)
        result = json.loads(base64.b64decode(promise["value"]["data"]))
        if promise["state"] != "RESOLVED" or result != n:
            raise ProcessError(f"{run}-{n} is {promise}")
        self.answers += 1

    def search(self) -> None:
        """Read the first pages of a search for everything, and leave another answer unread."""
        while not self.stopping.wait(1):
            cursor: str | None = ""
            for _ in range(5):
                if cursor is not None:
                    parameters = {"id": "*", "limit": "100", "cursor": cursor}
                    cursor = self.request("GET", "/promises", params=parameters)["cursor"]
                    self.searches += 1
            host, port = self.cluster.url.removeprefix("http://").split(":")
            with suppress(OSError), socket.create_connection((host, int(port))) as unread:
                unread.sendall(b"GET /promises?id=* HTTP/1.1\r\nhost: localhost\r\n\r\n")
                self.stopping.wait(1)

    def watch(self) -> None:
        """Read the page's events, and connect again after 200 lines."""
        while not self.stopping.is_set():
            with (
                suppress(httpx.TransportError),
                self.client.stream("GET", "/watch") as events,
            ):
                for number, _ in enumerate(events.iter_lines()):
                    self.events += 1
                    if number > 200 or self.stopping.is_set():
                        break
            self.stopping.wait(0.2)

    # These are the disturbances.

    def kill_worker(self) -> None:
        """Kill a worker, and start another one."""
        victim = self.workers.pop(self.rng.randrange(len(self.workers)))
        victim.kill()
        self.kills += 1
        self.start_worker()

    def stop_worker(self) -> None:
        """Stop a worker with SIGSTOP for up to 15 seconds."""
        victim = self.rng.choice(self.workers)
        victim.send_signal(signal.SIGSTOP)
        time.sleep(self.rng.uniform(0, 15))
        victim.send_signal(signal.SIGCONT)

    def kill_server(self) -> None:
        """Kill the server, and start it again on its data."""
        self.cluster.server.kill()
        self.kills += 1
        self.cluster.start_server()

    def read_slowly(self) -> None:
        """Let a subscriber stall and disconnect, and check that it gets all notifications."""
        name = f"slow-{self.rng.randrange(10**9)}"
        ids = {f"{name}.{i}" for i in range(20)}
        host, port = self.cluster.poll_url.removeprefix("http://").split(":")
        with closing(socket.create_connection((host, int(port)))) as stalled:
            stalled.sendall(f"GET /slow/{name} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
            stalled.recv(12)
            for promise_id in ids:
                key = {"idempotency-key": promise_id}
                body: dict[str, Any] = {"id": promise_id, "timeout": FAR}
                self.request("POST", "/promises", json=body, headers=key)
                body = {"id": "me", "recv": f"poll://uni@slow/{name}", "timeout": FAR}
                self.request("POST", f"/promises/subscribe/{promise_id}", json=body)
                body = {"state": "RESOLVED", "value": {"data": "A" * 400_000}}
                self.request("PATCH", f"/promises/{promise_id}", json=body, headers=key)
            stalled.settimeout(2)
            told = b""
            with suppress(OSError):
                stalled.shutdown(socket.SHUT_WR)
                while part := stalled.recv(2**20):
                    told += part
        missing = {i for i in ids if f'"id":"{i}"'.encode() not in told}
        with Listener(self.cluster.poll_url, "slow", name) as reader:
            while missing:
                message = reader.next()
                if message is None:
                    raise ProcessError(f"{name} did not get notifications of {missing}")
                missing.discard(message["promise"]["id"])
        self.notifications += len(ids)

    def report(self, minute: float) -> str:
        """Measure the server.

        Raises:
            ProcessError: it uses too much memory or too many files, or it has printed an error.
        """
        server = psutil.Process(self.cluster.server.pid)
        memory, files = server.memory_info().rss, server.num_fds()
        begin = time.perf_counter()
        self.request("GET", "/ping")
        took = time.perf_counter() - begin
        line = next(line for line in self.cluster.server.output if line.startswith("Data in "))
        path = Path(line.removeprefix("Data in "))
        size = sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))
        self.memory, self.files = max(memory, self.memory), max(files, self.files)
        if memory > MAX_MEMORY or files > MAX_FILES:
            raise ProcessError(f"the server has {memory / 1e6:.0f} MB and {files} open files")
        if self.cluster.server.errors:
            raise ProcessError(f"the server printed: {self.cluster.server.errors}")
        return (
            f"{minute:5.1f} min: {memory / 1e6:4.0f} MB, {files:3} files, "
            f"data {size / 1e6:6.1f} MB, ping {took * 1000:4.0f} ms; "
            f"{self.answers} chains, {self.notifications} slow notifications, "
            f"{self.searches} searches, {self.events} page lines, {self.kills} kills"
        )


def main() -> int:
    """Run the soak test.

    Returns:
        The exit code: 1 if anything went wrong.
    """
    args = _parse_arguments()
    rng = random.Random(args.seed)
    begin = time.monotonic()

    def minutes() -> float:
        return (time.monotonic() - begin) / 60

    with Cluster() as cluster, ThreadPoolExecutor(16) as pool:
        soak = Soak(cluster, rng)
        try:
            background = [pool.submit(soak.search), pool.submit(soak.watch)]
            number, reported = 0, -1
            while minutes() < args.minutes:
                chains = [pool.submit(soak.compute, f"{number}.{i}") for i in range(CHAINS)]
                time.sleep(rng.uniform(0, 2))
                disturbance: Callable[[], None] = rng.choice(
                    [soak.kill_worker, soak.kill_server, soak.stop_worker, soak.read_slowly, _rest]
                )
                disturbance()
                for chain in chains:
                    chain.result()
                number += 1
                if int(minutes()) > reported:
                    reported = int(minutes())
                    print(soak.report(minutes()), flush=True)
                for task in background:
                    if task.done():
                        task.result()
            print(soak.report(minutes()))
            print(
                "All answers were right. The server used at most "
                f"{soak.memory / 1e6:.0f} MB and {soak.files} files."
            )
        except (ProcessError, httpx.HTTPError) as e:
            print(f"tests.soak: {e!r} after {minutes():.1f} minutes, seed {args.seed}")
            return 1
        finally:
            soak.stopping.set()
            soak.client.close()
            for worker in soak.workers:
                worker.send_signal(signal.SIGCONT)
    return 0


def _rest() -> None:
    """Disturb nothing in this round."""


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak",
        description="Run recursions for a long time, kill and stop processes at random moments, "
        "and check every answer.",
    )
    parser.add_argument("--minutes", type=float, default=40, help="how long to run (default: 40)")
    parser.add_argument("--seed", type=int, default=0, help="the random seed (default: 0)")
    return parser.parse_args()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stops all processes
    sys.exit(main())
