"""What a level of the recursion must cost at least on this machine.

Each level makes seven requests. Four of them wait for each other: on the way down a worker claims
the call and creates the promise of the next one, on the way up a worker claims the resumed call
and resolves its promise. Each is a round trip over the loopback interface and a commit that is on
disk; the other three run beside them.

And a level's result is a number, which grows with n: the SDK writes it in decimal digits three
times and reads it twice, between the request that brings the smaller one and the one that resolves.
"""

from __future__ import annotations

import math
import os
import socket
import statistics
import tempfile
import threading
import time

CHAIN = 4
WRITTEN, READ = 3, 2
SAMPLES = 300
# About what a request or an answer and a commit's page in the log are (bytes).
MESSAGE = 600
PAGE = 4096 + 24


def limit() -> dict[str, float]:
    """Measure a round trip and a commit, in turn.

    Returns:
        Both, and what they make a level cost at least; in milliseconds.
    """
    trips, syncs = [], []
    with tempfile.TemporaryFile() as file, _echo() as peer:
        # Like SQLite's log, the file has its length already and is written over.
        os.write(file.fileno(), b"x" * PAGE * SAMPLES)
        os.fsync(file.fileno())
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        for _ in range(SAMPLES):
            trips.append(_round_trip(peer))
            syncs.append(_commit(file.fileno()))
    trip, sync = statistics.median(trips) * 1000, statistics.median(syncs) * 1000
    return {"round trip": trip, "fsync": sync, "level": CHAIN * (trip + sync)}


def digits(n: int) -> float:
    """Measure what the digits of the results from 1! to n! cost.

    Returns:
        Milliseconds a level, on average.
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
    """Start somebody who answers each message with as many bytes."""
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
