"""One of several workers on Restate's Python SDK: `python -m benchmarks.restate_worker NUMBER OF`.

Restate sends every call of a service to one address. So each worker has its own service and calls
that of the next worker.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys

import restate
from hypercorn.asyncio import serve
from hypercorn.config import Config

number, count = map(int, sys.argv[1:])
sys.set_int_max_str_digits(0)
service = restate.Service(f"factorial-{number}")


@service.handler()
async def factorial(ctx: restate.Context, n: int) -> int:
    """Return n!, with a call of the next worker for each level."""
    if n <= 1:
        return 1
    following = f"factorial-{(number + 1) % count}"
    smaller = await ctx.generic_call(following, "factorial", json.dumps(n - 1).encode())
    return n * int(json.loads(smaller))


config = Config()
config.loglevel = "ERROR"
with socket.create_server(("127.0.0.1", 0)) as listener:
    config.bind = [f"fd://{listener.fileno()}"]
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    asyncio.run(serve(restate.app([service]), config))
