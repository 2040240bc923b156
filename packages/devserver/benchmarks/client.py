"""A client that prints how long its calls took, in seconds.

python -m benchmarks.client plain|transport factorial N
python -m benchmarks.client plain|transport small COUNT AT_ONCE
"""

from __future__ import annotations

import importlib
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from resonate import Resonate

connection, what, count, *at_once = sys.argv[1:]
sys.set_int_max_str_digits(0)
remote = Resonate.remote
if connection == "transport":
    remote = importlib.import_module("resonate_transport").remote
resonate = remote(group="benchmark-client").options(target="poll://any@factorial-worker")


def small(number: int) -> None:
    """Make one call that does not depend on other calls."""
    # A real server can lose a subscription that arrives while the promise is being resolved.
    while True:
        try:
            resonate.begin_rpc(f"small-{at_once[0]}-{number}", "factorial", n=1).result(1)
        except TimeoutError:
            continue
        return


resonate.rpc("warm-up", "factorial", n=1)
begin = time.perf_counter()
if what == "factorial":
    resonate.rpc(f"factorial-{count}", "factorial", n=int(count))
else:
    with ThreadPoolExecutor(int(at_once[0])) as threads:
        list(threads.map(small, range(int(count))))
print(f"took {time.perf_counter() - begin}", flush=True)
