"""A client that makes calls and prints how long they took, in seconds.

python -m benchmarks.client plain|transport N COUNT AT_ONCE
"""

from __future__ import annotations

import importlib
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from resonate import Resonate

n, count, at_once = map(int, sys.argv[2:])
sys.set_int_max_str_digits(0)
remote = Resonate.remote
if sys.argv[1] == "transport":
    remote = importlib.import_module("resonate_transport").remote
resonate = remote(group="benchmark-client").options(target="poll://any@factorial-worker")


def call(number: int) -> None:
    """Call the factorial of n."""
    # A real server can lose a subscription that arrives while the promise is being resolved.
    while True:
        try:
            resonate.begin_rpc(f"call-{at_once}-{number}", "factorial", n=n).result(1)
        except TimeoutError:
            continue
        return


resonate.rpc("warm-up", "factorial", n=1)
begin = time.perf_counter()
with ThreadPoolExecutor(at_once) as threads:
    list(threads.map(call, range(count)))
print(f"took {time.perf_counter() - begin}", flush=True)
