"""A client that prints how long its calls took, in seconds, from the dispatch to the last result.

python -m benchmarks.client factorial N
python -m benchmarks.client small COUNT AT_ONCE
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import resonate


def main() -> None:
    """Make the calls from the command line."""
    what, count, *at_once = sys.argv[1:]
    group = "benchmark-client"
    remote = resonate.Resonate.remote(group=group).options(target="poll://any@factorial-worker")
    remote.start()
    remote.begin_rpc("warm-up", "factorial", n=1).result()
    if what == "factorial":
        n = int(count)
        begin = time.perf_counter()
        remote.begin_rpc(f"factorial-{n}", "factorial", n=n).result()
    else:
        begin = time.perf_counter()
        with ThreadPoolExecutor(int(at_once[0])) as threads:
            list(threads.map(lambda i: small(remote, i), range(int(count))))
    print(f"took {time.perf_counter() - begin}", flush=True)


def small(remote: resonate.Resonate, number: int) -> None:
    """Make one call that does not depend on other calls.

    A real server can lose a subscription that arrives while the promise is being resolved. So the
    client asks again after a second without a result.
    """
    while True:
        with suppress(TimeoutError):
            remote.begin_rpc(f"small-{number}", "factorial", n=1).result(1)
            return


if __name__ == "__main__":
    main()
