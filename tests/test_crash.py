"""A server that is killed at any moment still has all acknowledged changes."""

from __future__ import annotations

import base64
import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from demo.cluster import Cluster
from devserver.errors import Code
from tests.api import FAR
from tests.listener import Listener

if TYPE_CHECKING:
    from collections.abc import Callable

CLIENTS = 4
# Leases in ms: the shortest possible one, and one that outlasts the test, because each restart of
# the server starts it again.
SHORT, LONG = 1_000, 600_000
RECV = "poll://any@workers"


class Client:
    """Sends requests until the server is killed, and remembers the answers.

    Other clients do not use its promises and tasks, so the server must still have what its last
    answers said.
    """

    def __init__(self, api: httpx.Client, seed: int, number: int) -> None:
        self._api = api
        self.seed = seed
        self._name = f"{seed}.{number}"
        self._random = Random(self._name)
        self._last_step: Callable[[], None] = lambda: None
        self.promises: dict[str, dict[str, Any]] = {}
        self.tasks: dict[str, set[Code]] = {}  # the possible refusals of a second claim
        self.callbacks: list[tuple[str, str]] = []  # the ids of root and leaf

    def run(self) -> None:
        with suppress(httpx.TransportError):
            for i in itertools.count():
                promise_id = f"{self._name}.{i}"
                self._random.choice([self._compute, self._await, self._abandon])(promise_id)

    def repeat_unanswered(self) -> None:
        """Repeat the request that the server did not answer because of the crash."""
        self._last_step()  # the server carries it out now, or recognizes the repetition
        self._last_step()  # the server must recognize the repetition

    def check_tasks(self) -> None:
        for task_id, refusals in self.tasks.items():
            answer = self._claim(task_id, "another process", LONG)
            code = answer.json().get("error", {}).get("code")
            self._expect(code in refusals, answer, refusals)

    def claim_resumes(self) -> None:
        for root, leaf in self.callbacks:
            if self.promises[leaf]["state"] != "PENDING":
                self._claim_task(f"__resume:{root}:{leaf}", LONG)

    def complete_leaves(self) -> None:
        for _, leaf in self.callbacks:
            if self.promises[leaf]["state"] == "PENDING":
                self._complete(leaf, "RESOLVED", {"headers": {"after": "the crash"}})

    # The things that a client does with one promise

    def _compute(self, promise_id: str) -> None:
        self._create_some(promise_id, {"resonate:invoke": RECV})
        self._step(self._claim_task, f"__invoke:{promise_id}", LONG)
        if self._random.random() < 0.5:
            self._complete_some(promise_id)
        if self._random.random() < 0.5:
            self._step(self._complete_task, f"__invoke:{promise_id}")

    def _await(self, promise_id: str) -> None:
        root, leaf = promise_id, f"{promise_id}.leaf"
        self._create_some(root)
        self._create_some(leaf)
        self._step(self._create_callback, root, leaf)
        if self._random.random() < 0.5:
            self._complete_some(leaf)
            self._step(self._claim_task, f"__resume:{root}:{leaf}", LONG)

    def _abandon(self, promise_id: str) -> None:
        self._create_some(promise_id, {"resonate:invoke": RECV})
        self._step(self._claim_task, f"__invoke:{promise_id}", SHORT)

    def _create_some(self, promise_id: str, tags: dict[str, str] | None = None) -> None:
        tags = {"client": self._name} | (tags or {})
        self._step(self._create, promise_id, self._some_value(), tags)

    def _complete_some(self, promise_id: str) -> None:
        state = self._random.choice(["RESOLVED", "REJECTED", "REJECTED_CANCELED"])
        self._step(self._complete, promise_id, state, self._some_value())

    def _some_value(self) -> dict[str, Any]:
        # Some values fit into a page of the database, and some do not.
        data = self._random.randbytes(self._random.randrange(1, 8_000))
        return {"headers": {"by": self._name}, "data": base64.b64encode(data).decode()}

    def _step[**P](self, step: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        self._last_step = partial(step, *args, **kwargs)
        self._last_step()

    # Requests that a client can repeat

    def _create(self, promise_id: str, param: dict[str, Any], tags: dict[str, str]) -> None:
        body = {"id": promise_id, "timeout": FAR, "param": param, "tags": tags}
        key = f"create {promise_id}"
        answer = self._api.post("/promises", json=body, headers={"idempotency-key": key})
        self._note_promise(answer, body | {"idempotencyKeyForCreate": key})

    def _complete(self, promise_id: str, state: str, value: dict[str, Any]) -> None:
        body = {"state": state, "value": value}
        key = f"complete {promise_id}"
        url = f"/promises/{promise_id}"
        answer = self._api.patch(url, json=body, headers={"idempotency-key": key})
        self._note_promise(answer, body | {"idempotencyKeyForComplete": key})
        if f"__invoke:{promise_id}" in self.tasks:
            self.tasks[f"__invoke:{promise_id}"] = {Code.TASK_COMPLETED}

    def _create_callback(self, root: str, leaf: str) -> None:
        body = {"rootPromiseId": root, "recv": RECV, "timeout": FAR}
        answer = self._api.post(f"/promises/callback/{leaf}", json=body)
        self._expect(answer.status_code in {200, 201}, answer, "a callback")
        if (root, leaf) not in self.callbacks:
            self.callbacks.append((root, leaf))

    def _claim_task(self, task_id: str, ttl: int) -> None:
        refusals = {Code.TASK_CLAIMED} | ({Code.TASK_COUNTER} if ttl == SHORT else set())
        answer = self._claim(task_id, "me", ttl)
        claimed = answer.status_code == 201 or answer.json()["error"]["code"] in refusals
        self._expect(claimed, answer, refusals)
        self.tasks[task_id] = refusals

    def _complete_task(self, task_id: str) -> None:
        answer = self._api.post("/tasks/complete", json={"id": task_id, "counter": 1})
        self._expect(answer.status_code in {200, 201}, answer, "a completed task")
        self.tasks[task_id] = {Code.TASK_COMPLETED}

    def _claim(self, task_id: str, process_id: str, ttl: int) -> httpx.Response:
        body = {"id": task_id, "counter": 1, "processId": process_id, "ttl": ttl}
        return self._api.post("/tasks/claim", json=body)

    def _note_promise(self, answer: httpx.Response, asked: dict[str, Any]) -> None:
        self._expect(answer.status_code in {200, 201}, answer, "a promise")
        promise = answer.json()
        known = self.promises.get(promise["id"], {})
        if known.get("state") == "PENDING":
            known = {k: v for k, v in known.items() if k not in {"state", "value"}}
        wrong = differences(promise | asked | known, promise)
        self._expect(not wrong, answer, f"another content: {wrong}")
        self.promises[promise["id"]] = promise

    def _expect(self, as_expected: object, answer: httpx.Response, expected: object) -> None:
        assert as_expected, (
            f"seed {self.seed}: {answer.request.method} {answer.request.url} was answered "
            f"{answer.status_code}, expected {expected}; {answer.text}; {answer.request.content!r}"
        )


def load_and_kill(cluster: Cluster, api: httpx.Client, seed: int) -> list[Client]:
    """Run some clients until the server is killed.

    Returns:
        The clients, with the answers that they got.
    """
    clients = [Client(api, seed, number) for number in range(CLIENTS)]
    with ThreadPoolExecutor(CLIENTS) as pool:
        runs = [pool.submit(client.run) for client in clients]
        try:
            time.sleep(Random(seed).uniform(0, 1))
        finally:
            cluster.server.kill()
    for run in runs:
        run.result()
    return clients


def search(api: httpx.Client, pattern: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    cursor: str | None = ""
    while cursor is not None:
        page = api.get("/promises", params={"id": pattern, "cursor": cursor}).json()
        found |= {promise["id"]: promise for promise in page["promises"]}
        cursor = page["cursor"]
    return found


def check_promises(api: httpx.Client, clients: list[Client], pattern: str) -> None:
    """Check that the server has exactly the promises that the clients know."""
    told = {name: promise for client in clients for name, promise in client.promises.items()}
    held = search(api, pattern)
    wrong = {
        promise_id: differences(told.get(promise_id, {}), held.get(promise_id, {}))
        for promise_id in differences(told, held)
    }
    assert not wrong, f"seed {clients[-1].seed}: told and held: {wrong}"


def differences(told: dict[str, Any], held: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {k: (told.get(k), held.get(k)) for k in told | held if told.get(k) != held.get(k)}


def check_return(cluster: Cluster, clients: list[Client]) -> None:
    """Wait until the server sends each task with an expired lease again, with a higher counter."""
    abandoned = {
        task_id
        for client in clients
        for task_id, refusals in client.tasks.items()
        if Code.TASK_COUNTER in refusals
    }
    counters = dict.fromkeys(abandoned, 0)
    with Listener(cluster.poll_url, "workers", "me") as me, suppress(httpx.ReadTimeout):
        while 0 in counters.values():
            task_id, counter = me.next_task()
            counters[task_id] = counter
    wrong = {task_id: counters[task_id] for task_id in abandoned if counters[task_id] < 2}
    assert not wrong, f"seed {clients[-1].seed}: not sent again with a higher counter: {wrong}"


@pytest.mark.timeout(0)  # the duration depends on --crash-rounds
def test_acknowledged_changes_survive_a_kill_at_any_moment(pytestconfig: pytest.Config) -> None:
    clients: list[Client] = []
    with Cluster() as cluster, httpx.Client(base_url=cluster.url) as api:
        # A round's number is its seed, so that you can repeat a failure.
        for seed in range(pytestconfig.getoption("--crash-rounds")):
            newcomers = load_and_kill(cluster, api, seed)
            clients += newcomers
            cluster.start_server()
            for client in newcomers:
                client.repeat_unanswered()
            check_promises(api, newcomers, f"{seed}.*")
            for client in newcomers:
                client.check_tasks()
                client.claim_resumes()

        # Check all rounds again: later crashes must not damage the data of earlier rounds.
        check_promises(api, clients, "*")
        for client in clients:
            client.check_tasks()
            client.complete_leaves()
            client.claim_resumes()
        check_return(cluster, clients)
