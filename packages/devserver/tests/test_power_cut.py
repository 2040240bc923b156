"""After a power failure at any moment, the file still holds everything that a program was told.

A trace of the server's system calls shows what it wrote, when it waited for the disk, and when it
answered or sent a notification. From the trace, the test creates files as a power failure could
leave them: with everything that was written before the last sync, and any of the sectors that were
written later.
"""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import msgspec
import pytest

from devserver.store.models import Promise, PromiseState
from devserver.store.rows import find_promise
from tests.api import FAR, claim, create
from tests.listener import Listener
from tests.programs import Program, free_ports
from tests.tracing import needs_strace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CLIENTS = 3
CHAINS = 8  # for each client
CUTS = 60  # besides one after each answer
SECTOR = 512
CALL = re.compile(r'(\w+)\((\w+)(?:, (?:"((?:\\x..)*)"(?:\.\.\.)?, )?(.*))?\) += (\d+)')
MESSAGE = re.compile(rb"data: (.+)\n\n")
CALLS = "openat,pwrite64,write,fdatasync,fsync,ftruncate"


class Write(NamedTuple):
    name: str
    offset: int
    data: bytes


class Sync(NamedTuple):
    name: str


class Truncate(NamedTuple):
    name: str
    size: int


class Answer(NamedTuple):
    """An answer or a message."""

    body: dict[str, Any]


type Event = Write | Sync | Truncate | Answer


def work(url: str, poll_url: str, number: int) -> None:
    """Create, claim, await and resolve promises, with values that fill up to some pages."""
    random = Random(number)
    listener = Listener(poll_url, "clients", str(number))

    def value() -> dict[str, str]:
        return {"data": "QUJD" * random.randrange(1, 3_000)}

    # The test has a limit.
    with closing(listener), httpx.Client(base_url=url, timeout=None) as api:  # noqa: S113
        for chain in range(CHAINS):
            root, leaf = f"{number}.{chain}", f"{number}.{chain}.leaf"
            for name in (root, leaf):
                tags = {"resonate:invoke": "poll://any@workers"}
                create(api, name, param=value(), tags=tags)
            subscription = {"id": "client", "timeout": FAR, "recv": f"poll://uni@clients/{number}"}
            api.post(f"/promises/subscribe/{root}", json=subscription).raise_for_status()
            task = {"id": f"__invoke:{root}", "counter": 1}
            claim(api, (f"__invoke:{root}", 1), "worker").raise_for_status()
            callback = {"rootPromiseId": root, "timeout": FAR, "recv": "poll://any@workers"}
            api.post(f"/promises/callback/{leaf}", json=callback).raise_for_status()
            api.post("/tasks/complete", json=task).raise_for_status()
            for name in random.choice([[leaf], [leaf, root], []]):
                body = {"state": "RESOLVED", "value": value()}
                api.patch(f"/promises/{name}", json=body).raise_for_status()
                if name == leaf:
                    claim(api, (f"__resume:{root}:{leaf}", 1), "worker").raise_for_status()
                else:
                    listener.next()


def events(trace: str, path: Path) -> Iterator[Event]:
    """Read the server's changes to its files, and its answers, in the order of the trace."""
    names = {str(path): "db", f"{path}-wal": "wal"}
    files: dict[str, str] = {}
    for line in trace.splitlines():
        match = CALL.match(line)
        if match is None:
            continue
        call, fd, content, rest, result = match.groups()
        data = bytes.fromhex((content or "").replace("\\x", ""))
        if call == "openat":
            files.pop(result, None)
            if (name := names.get(data.decode(errors="replace"))) is not None:
                files[result] = name
        elif call == "write" and fd not in files:
            if data.startswith(b"{"):
                yield Answer(json.loads(data))
            for message in MESSAGE.findall(data):
                yield Answer(json.loads(message))
        elif fd in files:
            match call:
                case "pwrite64":
                    length, offset = map(int, rest.split(", "))
                    assert len(data) == length == int(result)
                    yield Write(files[fd], offset, data)
                case "fdatasync" | "fsync":
                    yield Sync(files[fd])
                case "ftruncate":
                    yield Truncate(files[fd], int(rest))
                case _:
                    pytest.fail(f"unexpected: {line[:100]}")


class Disk:
    """The files: the content that is certainly on the disk, and the later changes."""

    def __init__(self) -> None:
        self.synced: dict[str, bytearray] = defaultdict(bytearray)
        self.later: dict[str, list[Write | Truncate]] = defaultdict(list)

    def apply(self, event: Write | Truncate | Sync) -> None:
        if isinstance(event, Sync):
            for change in self.later.pop(event.name, []):
                change_content(self.synced[event.name], change)
        else:
            self.later[event.name].append(event)

    def after_power_failure(self, name: str, random: Random) -> bytes:
        content = bytearray(self.synced[name])
        share = random.choice([0, 0.5, 0.9, 1])  # of the sectors written since the last sync
        for change in self.later[name]:
            if isinstance(change, Truncate):
                if random.random() < share:
                    change_content(content, change)
                continue
            for start in range(0, len(change.data), SECTOR):
                if random.random() < share:
                    part = change.data[start : start + SECTOR]
                    change_content(content, Write(name, change.offset + start, part))
        return bytes(content)


def change_content(content: bytearray, change: Write | Truncate) -> None:
    if isinstance(change, Truncate):
        del content[change.size :]
    else:
        end = change.offset + len(change.data)
        content.extend(bytes(max(end - len(content), 0)))
        content[change.offset : end] = change.data


def check(path: Path, promises: dict[str, Promise], callbacks: set[str]) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA synchronous = OFF")  # the test need not wait for the disk
        assert [tuple(row) for row in db.execute("PRAGMA integrity_check")] == [("ok",)]
        for promise_id, known in promises.items():
            found = find_promise(db, promise_id)
            assert found is not None, f"{promise_id} is lost"
            if known.state == PromiseState.PENDING:
                assert (found.param, found.tags) == (known.param, known.tags)
            else:
                assert found == known
        for callback in callbacks:
            query = (
                "SELECT id FROM callbacks WHERE id = :id UNION SELECT id FROM tasks WHERE id = :id"
            )
            assert db.execute(query, {"id": callback}).fetchone(), f"{callback} is lost"
        out = db.execute(
            "SELECT root_promise_id FROM tasks WHERE state IN ('ENQUEUED', 'CLAIMED')"
        ).fetchall()
        assert len(set(map(tuple, out))) == len(out), "two tasks of a promise are out"


def promises_in(body: dict[str, Any]) -> Iterator[Promise]:
    """Read the promises in an answer or a message."""
    if "promises" in body:  # of a claim
        found = [about["data"] for about in body["promises"].values()]
    else:
        found = [body.get("promise", body)]
    for promise in found:
        if "state" in promise:
            yield msgspec.convert(promise, Promise, strict=False)


def traced(folder: Path, use: Callable[[str, str], None]) -> list[Event]:
    """Run a server, and trace it while a function uses its two ports."""
    path, trace = folder / "traced" / "devserver.db", folder / "trace"
    path.parent.mkdir()
    port, poll_port = free_ports(2)
    command = ["strace", "-qq", "-xx", "-s", "100000", "-e", f"trace={CALLS}", "-o", str(trace)]
    command += [sys.executable, "-m", "devserver", "--db", str(path)]
    command += ["--port", str(port), "--poll-port", str(poll_port)]
    with Program(command) as server:
        server.wait_for("Data in")
        use(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{poll_port}")
    return list(events(trace.read_text(), path))


@needs_strace
def test_what_a_program_was_told_survives_a_power_failure(tmp_path: Path) -> None:
    def use(url: str, poll_url: str) -> None:
        with ThreadPoolExecutor(CLIENTS) as pool:
            jobs = [pool.submit(work, url, poll_url, number) for number in range(CLIENTS)]
        for job in jobs:
            job.result()

    happened = traced(tmp_path, use)
    answers = [place for place, event in enumerate(happened) if isinstance(event, Answer)]
    random = Random(0)
    cuts = {*answers, *random.sample(range(answers[0], len(happened)), CUTS)}
    disk = Disk()
    promises: dict[str, Promise] = {}
    callbacks: set[str] = set()
    for place, event in enumerate(happened):
        if isinstance(event, Answer):
            promises |= {promise.id: promise for promise in promises_in(event.body)}
            if callback := event.body.get("callback"):
                callbacks.add(callback["id"])
        else:
            disk.apply(event)
        if place in cuts:
            copy = tmp_path / str(place) / "devserver.db"
            copy.parent.mkdir()
            copy.write_bytes(disk.after_power_failure("db", random))
            copy.with_name("devserver.db-wal").write_bytes(disk.after_power_failure("wal", random))
            check(copy, promises, callbacks)
            shutil.rmtree(copy.parent)
    assert len(promises) == 2 * CLIENTS * CHAINS
    assert len(callbacks) == 2 * CLIENTS * CHAINS  # with the subscriptions
