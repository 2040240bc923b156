"""Measure how many requests a second a devserver answers, and a real server beside it.

    uv run python -m benchmarks.load [--resonate BINARY]

Each client has one connection, on which it creates a promise, resolves it, and begins anew.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from contextlib import AsyncExitStack
from statistics import median
from typing import Self
from urllib.parse import urlsplit

from cluster import Cluster

CLIENTS = (1, 8, 64)
ROUNDS = 3
# How long each measurement takes (seconds), and at how many promises of a client it ends early.
SECONDS = 3.0
MOST_PROMISES = 20_000
# Until when it must have ended, whatever happens (seconds).
PATIENCE = SECONDS + 30


class Connection:
    """A connection to a server that is kept alive, with as little HTTP as that takes."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    async def request(self, method: str, path: str, body: dict[str, object]) -> None:
        """Send a request and read its answer, which has to be 201."""
        content = json.dumps(body).encode()
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        self._writer.write(head.encode() + content)
        status, *headers = (await self._reader.readuntil(b"\r\n\r\n")).lower().splitlines()
        (length,) = (int(line[15:]) for line in headers if line.startswith(b"content-length:"))
        answer = await self._reader.readexactly(length)
        if status.split()[1] != b"201":
            raise RuntimeError(f"{method} {path} was answered {status!r} {answer!r}")


def main() -> None:
    """Measure the servers in turn, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("--resonate", metavar="BINARY", help="a real legacy Resonate server")
    binary = parser.parse_args().resonate
    servers = [None] if binary is None else [None, binary]
    rates: dict[tuple[int, str | None], list[float]] = {}
    # Round by round, so that what else the machine does meanwhile befalls both of them.
    for _ in range(ROUNDS):
        for clients in CLIENTS:
            for server in servers:
                rates.setdefault((clients, server), []).append(measure(server, clients))

    print(f"requests/s, median of {ROUNDS} rounds")
    print("clients  devserver" + ("  resonate  ratio" if binary else ""))
    for clients in CLIENTS:
        ours, *theirs = (median(rates[clients, server]) for server in servers)
        row = f"{clients:7}  {ours:9.0f}"
        for rate in theirs:
            row += f"  {rate:8.0f}  {ours / rate:5.2f}"
        print(row)


def measure(resonate: str | None, clients: int) -> float:
    """Start a server without any data, and put it under load.

    Args:
        resonate: see `Cluster`.
        clients: how many clients there are at the same time.

    Returns:
        Requests per second.
    """
    with Cluster(resonate) as cluster:
        return asyncio.run(load(cluster.url, clients))


async def load(url: str, clients: int) -> float:
    """Put a server under load.

    Returns:
        Requests per second.
    """
    host, _, port = urlsplit(url).netloc.partition(":")
    async with asyncio.timeout(PATIENCE), AsyncExitStack() as stack:
        connections = [
            await stack.enter_async_context(Connection(host, int(port))) for _ in range(clients)
        ]
        start = time.perf_counter()
        deadline = start + SECONDS
        counts = await asyncio.gather(
            *(work(connection, f"p{i}", deadline) for i, connection in enumerate(connections))
        )
        return sum(counts) / (time.perf_counter() - start)


async def work(connection: Connection, name: str, deadline: float) -> int:
    """Create and resolve promises, one after the other.

    Returns:
        The number of requests.
    """
    requests = 0
    for i in range(MOST_PROMISES):
        if time.perf_counter() > deadline:
            break
        promise_id = f"{name}-{i}"
        await connection.request("POST", "/promises", {"id": promise_id, "timeout": 2**42})
        resolved: dict[str, object] = {"state": "RESOLVED", "value": {"data": "NDI="}}
        await connection.request("PATCH", f"/promises/{promise_id}", resolved)
        requests += 2
    return requests


if __name__ == "__main__":
    main()
