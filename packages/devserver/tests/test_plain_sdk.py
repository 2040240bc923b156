"""Programs on the plain SDK survive on devserver where a refusal or a message would end them.

`test_store_properties.py` tests which claims are answered although they are repeated or late.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

from tests.api import create, encoded

if TYPE_CHECKING:
    import httpx

    from tests.programs import Program, Server

WORKER = """
import os
import sys
from threading import Event

from resonate import Context, Resonate

resonate = Resonate.remote(group="tests", pid=sys.argv[1] if len(sys.argv) > 1 else None)


@resonate.register
def ends_the_worker(ctx: Context):
    print("ends", flush=True)
    os._exit(3)


@resonate.register
def down(ctx: Context, n: int):
    print("down", flush=True)
    if n == 0:
        return 0
    return 1 + (yield ctx.rpc("down", n - 1).options(target="poll://any@tests", id=f"down-{n - 1}"))


resonate.start()
print("is running", flush=True)
Event().wait()
"""


def start_workers(server: Server, count: int, *arguments: str) -> list[Program]:
    command = [sys.executable, "-c", WORKER, *arguments]
    workers = [server.launch(command) for _ in range(count)]
    for worker in workers:
        worker.wait_for("is running")
    return workers


def call(http: httpx.Client, promise_id: str, func: str, *args: object) -> None:
    """Create the promise of a call as the SDK does."""
    content = {"func": func, "args": args, "kwargs": {}, "version": 1}
    tags = {"resonate:invoke": "poll://any@tests"}
    create(http, promise_id, param={"data": encoded(json.dumps(content))}, tags=tags)


def wait_until_resolved(http: httpx.Client, promise_id: str) -> None:
    while (state := http.get(f"/promises/{promise_id}").json()["state"]) == "PENDING":
        time.sleep(0.05)  # the server does not tell
    assert state == "RESOLVED"


def test_a_queue_of_calls_is_worked_off_without_a_wasted_attempt(
    server: Server, http: httpx.Client
) -> None:
    for i in range(200):
        call(http, f"queued-{i}", "down", 0)
    workers = start_workers(server, 2)
    for i in range(200):
        wait_until_resolved(http, f"queued-{i}")
    assert all(worker.alive for worker in workers)
    assert sum(worker.output.count("down") for worker in workers) == 200


def test_a_call_that_ends_its_workers_is_not_sent_again_at_once(
    server: Server, http: httpx.Client
) -> None:
    workers = start_workers(server, 3)
    call(http, "poison", "ends_the_worker")
    server.process.wait_for("poison has ended 2 workers; next try in 5 s.")
    call(http, "healthy", "down", 3)
    wait_until_resolved(http, "healthy")
    # The advice in the log stops it.
    command = server.process.errors[-1].partition("To give it up: ")[2]
    server.launch(["sh", "-c", command]).wait()
    canceled = http.get("/promises/poison").json()
    assert canceled["state"] == "REJECTED_CANCELED"
    assert canceled["idempotencyKeyForComplete"] == "poison", "the SDK's own key"
    assert [worker.alive for worker in workers].count(True) == 1
    assert sum(worker.output.count("ends") for worker in workers) == 2


def test_two_workers_with_the_same_pid_live(server: Server, http: httpx.Client) -> None:
    workers = start_workers(server, 2, "worker-1")
    call(http, "down-30", "down", 30)
    wait_until_resolved(http, "down-30")
    assert all(worker.alive for worker in workers)
