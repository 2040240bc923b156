"""A client that asks the workers for one factorial and prints it."""

import sys
from argparse import ArgumentParser

from resonate import Resonate

sys.set_int_max_str_digits(0)  # as in the worker
resonate = Resonate.remote(group="factorial-client")

parser = ArgumentParser(description="Calculate the factorial of n on the workers.")
parser.add_argument("n", type=int, help="a whole number from 0 to 10000")
n = parser.parse_args().n
if not 0 <= n <= 10_000:  # the results of a longer run would fill a disk
    parser.error("n must be from 0 to 10000")
try:
    result = resonate.options(target="poll://any@factorial-worker").rpc(
        f"factorial-{n}", "factorial", n=n
    )
except KeyboardInterrupt:
    print("Interrupted. The workers go on; run the client again for the result.", file=sys.stderr)
    sys.exit(130)
except Exception as e:  # noqa: BLE001 - a call can fail with any exception
    sys.exit(f"factorial({n}) failed: {e!r}")
print(f"Result: {result}")
