"""Programs on the plain SDK survive on devserver where a refusal or a message would end them."""

from __future__ import annotations

import json
import signal
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

import httpx

from devserver.store.dispatch import MAX_UNCLAIMED
from tests.api import claim, create, encoded, invoke
from tests.listener import Listener

if TYPE_CHECKING:
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


def test_a_repeated_claim_gets_the_same_answer(devserver: Server, api: httpx.Client) -> None:
    with closing(Listener(devserver.poll_url, "repeat", "one")) as one:
        invoke(api, "repeated", "poll://any@repeat")
        task = one.next_task()
        first = claim(api, task, "one")
        again = claim(api, task, "one")
        assert (first.status_code, again.status_code) == (201, 201)
        assert again.json() == first.json()
        assert claim(api, task, "two").json()["error"]["code"] == 40306
        assert claim(api, (task[0], 2), "one").json()["error"]["code"] == 40306


def test_a_promise_that_was_canceled_under_way_can_be_claimed(
    devserver: Server, api: httpx.Client
) -> None:
    """The SDK then sees that the promise is complete. It would exit if the claim were refused."""
    with closing(Listener(devserver.poll_url, "cancel", "one")) as one:
        invoke(api, "canceled", "poll://any@cancel")
        task = one.next_task()
        api.patch("/promises/canceled", json={"state": "REJECTED_CANCELED"}).raise_for_status()
        answer = claim(api, task, "one").json()
        assert answer["promises"]["root"]["data"]["state"] == "REJECTED_CANCELED"
        assert claim(api, task, "two").json()["error"]["code"] == 40307


def test_a_message_is_one_line_of_ascii(devserver: Server, api: httpx.Client) -> None:
    breaks = "\v\f\x1c\x1d\x1e\x85\u2028\u2029é\U0001f600"
    name = breaks[6:]  # the server refuses control characters in ids
    with httpx.stream("GET", f"{devserver.poll_url}/ascii/one") as stream:
        tags = {"resonate:invoke": "poll://any@ascii", "other": breaks}
        create(api, name, tags=tags)
        event = next(part for part in stream.iter_raw() if part)
    assert event.isascii()
    assert len(event.decode().splitlines()) == 2  # the message, and the empty line after it
    assert json.loads(event.removeprefix(b"data: "))["task"]["rootPromiseId"] == name


def test_a_process_gets_a_few_messages_at_a_time(devserver: Server, api: httpx.Client) -> None:
    with (
        closing(Listener(devserver.poll_url, "few", "one")) as one,
        closing(Listener(devserver.poll_url, "few", "two")) as two,
    ):
        for i in range(3 * MAX_UNCLAIMED):
            invoke(api, f"few-{i}", "poll://any@few/one")
        tasks = [one.next_task() for _ in range(MAX_UNCLAIMED)]
        others = [two.next_task() for _ in range(MAX_UNCLAIMED)]
        assert claim(api, tasks[0], "one").status_code == 201
        api.patch(f"/promises/{others[0][0].removeprefix('__invoke:')}", json={"state": "RESOLVED"})
        assert one.next_task() == (f"__invoke:few-{2 * MAX_UNCLAIMED}", 1)
        assert two.next_task() == (f"__invoke:few-{2 * MAX_UNCLAIMED + 1}", 1)


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
    assert http.get("/promises/poison").json()["state"] == "REJECTED_CANCELED"
    assert [worker.alive for worker in workers].count(True) == 1
    assert sum(worker.output.count("ends") for worker in workers) == 2


def test_a_call_that_has_lived_may_lose_its_workers(server: Server, http: httpx.Client) -> None:
    tries = [Listener(server.poll_url, "lived", str(i)) for i in range(4)]
    invoke(http, "lived", "poll://any@lived")
    for listener in tries:
        task = listener.next_task()
        assert claim(http, task, listener.id, ttl=1_000).status_code == 201
        time.sleep(0.3)  # more than a quarter of the lease
        body = {"processId": listener.id}
        assert http.post("/tasks/heartbeat", json=body).json() == {"tasksAffected": 1}
        listener.close()
    assert server.process.errors == []


def test_leases_do_not_run_out_while_the_server_is_stopped(
    server: Server, http: httpx.Client
) -> None:
    with closing(Listener(server.poll_url, "stopped", "one")) as one:
        invoke(http, "stopped", "poll://any@stopped")
        task = one.next_task()
        assert claim(http, task, "one", ttl=1_500).status_code == 201
        server.process.send_signal(signal.SIGSTOP)
        time.sleep(4)
        server.process.send_signal(signal.SIGCONT)
        body = {"id": task[0], "counter": task[1]}
        assert http.post("/tasks/complete", json=body).status_code == 201


def test_two_workers_with_the_same_pid_live(server: Server, http: httpx.Client) -> None:
    workers = start_workers(server, 2, "worker-1")
    call(http, "down-30", "down", 30)
    wait_until_resolved(http, "down-30")
    assert all(worker.alive for worker in workers)
