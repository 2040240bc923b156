"""After a power failure at any moment, the file still holds everything that a program was told.

A trace of the server's system calls shows what it wrote, when it waited for the disk, and when it
answered or sent a notification. From the trace, the test creates files as a power failure could
leave them: with everything that was written before the last sync, and any of the sectors that were
written later.
"""

from __future__ import annotations

import json
import re
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from random import Random
from typing import TYPE_CHECKING, Any

import httpx
import msgspec

from devserver.store.models import Promise, PromiseState
from devserver.store.rows import find_promise
from tests.api import claim, complete, complete_task, create, invoke, subscribe, wait_for
from tests.listener import Listener
from tests.programs import Server
from tests.tracing import needs_strace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CLIENTS = 3
CHAINS = 8  # for each client
CUTS = 0.1  # the share of the system calls that are followed by a cut, besides all answers
SECTOR = 512
CALL = re.compile(r'(\w+)\((\w+)(?:, (?:"((?:\\x..)*)"(?:\.\.\.)?, )?(.*))?\) += (\d+)')
MESSAGE = re.compile(rb"data: (.+)\n\n")
CALLS = "openat,pwrite64,write,fdatasync,fsync,ftruncate"


def work(server: Server, client: str) -> None:
    """Create, claim, await and resolve promises, with values that fill up to some pages."""
    random = Random(client)
    listener = Listener(server.poll_url, "clients", client)
    # The test has a limit.
    with listener, httpx.Client(base_url=server.url, timeout=None) as api:  # noqa: S113
        for chain in range(CHAINS):
            root, leaf = f"{client}.{chain}", f"{client}.{chain}.leaf"
            invoke(api, root, "poll://any@workers")
            create(api, leaf, param={"data": "QUJD" * random.randrange(3_000)})
            subscribe(api, root, client)
            claim(api, (f"__invoke:{root}", 1), "worker").raise_for_status()
            wait_for(api, root, leaf)
            complete_task(api, (f"__invoke:{root}", 1)).raise_for_status()
            steps = random.randrange(3)
            if steps > 0:
                complete(api, leaf, value="A" * random.randrange(9_000))
                claim(api, (f"__resume:{root}:{leaf}", 1), "worker").raise_for_status()
            if steps > 1:
                complete(api, root, value="A" * random.randrange(9_000))
                listener.next()


class Disk:
    """The server's two files: what is certainly on the disk, and what was written later."""

    def __init__(self) -> None:
        self.synced = {"db": bytearray(), "wal": bytearray()}
        # Each change is an offset and the data, or the new size of the file and None.
        self.later: dict[str, list[tuple[int, bytes | None]]] = {"db": [], "wal": []}

    def sync(self, name: str) -> None:
        for offset, data in self.later[name]:
            apply(self.synced[name], offset, data)
        self.later[name].clear()

    def cut_power(self, name: str, random: Random) -> bytes:
        """Return what the file may contain after a power failure."""
        content = bytearray(self.synced[name])
        share = random.choice([0, 0.5, 0.9, 1])  # of the sectors that were written later
        for offset, data in self.later[name]:
            for start in range(0, len(data or b" "), SECTOR):
                if random.random() < share:
                    apply(content, offset + start, data and data[start : start + SECTOR])
        return bytes(content)


def apply(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del content[offset:]
    else:
        content.extend(bytes(max(offset + len(data) - len(content), 0)))
        content[offset : offset + len(data)] = data


def replay(trace: Path, db: Path, disk: Disk) -> Iterator[list[dict[str, Any]]]:
    """Apply each system call to the disk, and yield the answers and messages that it sent."""
    names = {str(db): "db", f"{db}-wal": "wal"}
    files: dict[str, str] = {}
    for match in map(CALL.match, trace.read_text().splitlines()):
        if match is None:
            continue
        call, fd, content, rest, result = match.groups()
        data = bytes.fromhex((content or "").replace("\\x", ""))
        sent: list[bytes] = []
        if call == "openat":
            files.pop(result, None)
            if (name := names.get(data.decode(errors="replace"))) is not None:
                files[result] = name
        elif fd not in files:
            sent = [data] if data.startswith(b"{") else MESSAGE.findall(data)
        elif call == "pwrite64":
            length, offset = map(int, rest.split(", "))
            assert len(data) == length == int(result)
            disk.later[files[fd]].append((offset, data))
        elif call == "ftruncate":
            disk.later[files[fd]].append((int(rest), None))
        else:
            assert call in {"fdatasync", "fsync"}
            disk.sync(files[fd])
        yield [json.loads(text) for text in sent]


def promises_in(body: dict[str, Any]) -> list[Promise]:
    """Read the promises in an answer or a message."""
    claimed = [about["data"] for about in body.get("promises", {}).values()]
    found = claimed or [body.get("promise", body)]
    return [msgspec.convert(p, Promise, strict=False) for p in found if "state" in p]


def check(path: Path, promises: dict[str, Promise], callbacks: set[str]) -> None:
    """Check that a file has what a program was told."""
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
        query = "SELECT id FROM callbacks UNION SELECT id FROM tasks"
        assert callbacks <= {row["id"] for row in db.execute(query)}, "a callback is lost"
        out = db.execute(
            "SELECT root_promise_id FROM tasks WHERE state IN ('ENQUEUED', 'CLAIMED')"
        ).fetchall()
        assert len({row[0] for row in out}) == len(out), "two tasks of a promise are out"


@needs_strace
def test_what_a_program_was_told_survives_a_power_failure(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    strace = ["strace", "-qq", "-xx", "-s", "100000", "-e", f"trace={CALLS}", "-o", str(trace)]
    with Server(below=strace) as server:
        with ThreadPoolExecutor(CLIENTS) as pool:
            jobs = [pool.submit(work, server, f"client{number}") for number in range(CLIENTS)]
        assert [job.result() for job in jobs] == [None] * CLIENTS
    disk, random = Disk(), Random(0)
    promises: dict[str, Promise] = {}
    callbacks: set[str] = set()
    copy = tmp_path / "copy.db"
    for sent in replay(trace, server.db, disk):
        for body in sent:
            promises |= {promise.id: promise for promise in promises_in(body)}
            if callback := body.get("callback"):
                callbacks.add(callback["id"])
        if promises and (sent or random.random() < CUTS):
            copy.write_bytes(disk.cut_power("db", random))
            copy.with_name("copy.db-wal").write_bytes(disk.cut_power("wal", random))
            check(copy, promises, callbacks)
    assert len(promises) == 2 * CLIENTS * CHAINS
    assert len(callbacks) == 2 * CLIENTS * CHAINS  # with the subscriptions
