"""One of several workers on Restate's Python SDK.

python -m benchmarks.restate_worker NUMBER COUNT PORT

Restate sends every call of a service to one address. So each worker has its own service and calls
that of the next worker.
"""

from __future__ import annotations

import asyncio
import json
import sys

import restate
from hypercorn.asyncio import serve
from hypercorn.config import Config

number, count, port = map(int, sys.argv[1:])
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
config.bind = [f"127.0.0.1:{port}"]
config.loglevel = "ERROR"
asyncio.run(serve(restate.app([service]), config))
