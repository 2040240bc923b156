"""The least that a level of the recursion must cost on this machine.

A level takes six requests. Four of them must follow one another: on the way down, a worker
claims the call and creates the promise of the next one, and on the way up, a worker claims the
resumed call and resolves its promise. Each is a round trip over the loopback interface. A claim is
answered when what was created or resolved before it is on disk. The server waits for the disk
while the claim is on its way. The other two requests run in parallel.

A level's result is a number that grows with n. The SDK writes it in decimal digits three times and
reads it twice, between the request that returns the smaller result and the one that resolves.
"""

from __future__ import annotations

import math
import os
import socket
import statistics
import tempfile
import threading
import time

WAYS = 2  # down and up
WRITTEN, READ = 3, 2
SAMPLES = 300
# The typical sizes of a request or an answer, and of a commit's page in the log (bytes).
MESSAGE = 600
PAGE = 2048 + 24


def limit() -> dict[str, float]:
    """Measure a round trip and a commit, in turn.

    Returns:
        Both times, and the least time of a level that follows from them, in milliseconds.
    """
    trips, syncs = [], []
    with tempfile.TemporaryFile() as file, _echo() as peer:
        # Like SQLite's log, the file has its full length and is overwritten.
        os.write(file.fileno(), b"x" * PAGE * SAMPLES)
        os.fsync(file.fileno())
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        for _ in range(SAMPLES):
            trips.append(_round_trip(peer))
            syncs.append(_commit(file.fileno()))
    trip, sync = statistics.median(trips) * 1000, statistics.median(syncs) * 1000
    return {"round trip": trip, "fsync": sync, "level": WAYS * (trip + max(trip, sync))}


def digits(n: int) -> float:
    """Measure the time for the digits of the results from 1! to n!.

    Returns:
        Milliseconds per level, on average.
    """
    took = []
    for k in range(n, 0, -max(n // 50, 1)):
        number = math.factorial(k)
        begin = time.perf_counter()
        for _ in range(WRITTEN):
            text = str(number)
        for _ in range(READ):
            int(text)
        took.append(time.perf_counter() - begin)
    return statistics.mean(took) * 1000


def _echo() -> socket.socket:
    """Start an echo server."""
    listener = socket.create_server(("127.0.0.1", 0))
    ours = socket.create_connection(listener.getsockname())
    theirs, _ = listener.accept()
    listener.close()
    for end in (ours, theirs):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def answer() -> None:
        with theirs:
            while data := theirs.recv(MESSAGE):
                theirs.sendall(data)

    threading.Thread(target=answer, daemon=True).start()
    return ours


def _round_trip(peer: socket.socket) -> float:
    begin = time.perf_counter()
    peer.sendall(b"x" * MESSAGE)
    missing = MESSAGE
    while missing:
        missing -= len(peer.recv(missing))
    return time.perf_counter() - begin


def _commit(file: int) -> float:
    begin = time.perf_counter()
    os.write(file, b"x" * PAGE)
    getattr(os, "fdatasync", os.fsync)(file)
    return time.perf_counter() - begin
