"""Run SDKs on devserver: their own tests of a server, and the plain tutorial.

    uv run --all-groups --with pip python -m tests.sdk_suite [--resonate=BINARY] [VERSION | all] ...

The default VERSION is the one that is installed here. `uv run --python 3.12` takes another Python.
The tests are in the SDK's source distribution, which this downloads by its name. Each version's
count is what passed on the real server, measured once on an empty database. The plain tutorial is
`factorial` on the SDK alone.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import override
from xml.etree import ElementTree as ET

from demo.cluster import Cluster
from demo.processes import Process, ProcessError

# How many tests of each version pass on the real server.
COUNTS = {
    "0.5.6": 401,
    "0.6.0": 401,
    "0.6.1": 401,
    "0.6.2": 401,
    "0.6.3": 401,
    "0.6.4": 402,
    "0.6.5": 402,
    "0.6.6": 401,
    "0.6.7": 401,
}
FILES = ("test_store_promise.py", "test_store_task.py", "test_store_schedules.py", "test_bridge.py")

WORKERS = 2
N = 20
WORKER = """
from threading import Event

from resonate import Resonate

resonate = Resonate.remote(group="factorial-worker")


@resonate.register
def factorial(ctx, n):
    if n <= 1:
        return 1
    rpc = ctx.rpc if hasattr(ctx, "rpc") else ctx.rfc  # its name before 0.6
    result = yield rpc("factorial", n - 1).options(
        target="poll://any@factorial-worker", id=f"factorial-{n - 1}"
    )
    return n * result


resonate.start()
print("running", flush=True)
Event().wait()
"""
CLIENT = """
import os
import sys

import resonate

n = int(sys.argv[1])
client = resonate.Resonate.remote(group="factorial-client")
result = client.options(target="poll://any@factorial-worker").rpc(f"factorial-{n}", "factorial", n)
if hasattr(result, "result"):  # before 0.6, this is a handle
    result = result.result()
print(result, os.path.dirname(resonate.__file__), flush=True)
os._exit(0)
"""


def main() -> int:
    """Download each SDK and run it.

    Returns:
        The exit code: 0 if every version passed.
    """
    parser = argparse.ArgumentParser(
        prog="python -m tests.sdk_suite",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--resonate", metavar="BINARY", help="a real legacy Resonate server")
    parser.add_argument("versions", nargs="*", metavar="VERSION", choices=[*COUNTS, "all"])
    args = parser.parse_args()
    versions = args.versions or [version("resonate-sdk")]
    if "all" in versions:
        versions = list(COUNTS)
    results = [run(name, args.resonate) for name in versions]
    return 0 if all(results) else 1


def run(name: str, binary: str | None) -> bool:
    """Run one version of the SDK.

    Returns:
        Whether its tests and the tutorial passed.
    """
    with tempfile.TemporaryDirectory() as folder:
        source = download(name, Path(folder))
        passed = count_passed(source, binary)
        tutorial = run_tutorial(source, binary)
    is_right = passed == COUNTS[name] and tutorial == "passes"
    print(
        f"{'PASSED' if is_right else 'FAILED'}: SDK {name}, Python {sys.version.split()[0]}: "
        f"{passed} of {COUNTS[name]} tests pass; the plain tutorial {tutorial}",
        flush=True,
    )
    return is_right


def download(name: str, folder: Path) -> Path:
    """Get the source distribution of a version.

    Returns:
        The folder with its content.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--no-binary", "resonate-sdk", f"resonate-sdk=={name}"]
    subprocess.run(command, cwd=folder, check=True)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


def count_passed(source: Path, binary: str | None) -> int:
    """Run the SDK's own tests of a remote store, and count those that pass."""
    report = source / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    # The tests import the SDK beside them, of the same version.
    command += ["--import-mode=importlib", "-W", "ignore", "--timeout", "300"]
    command += ["--junitxml", str(report), "-k", "RemoteStore"]
    with Cluster(binary) as cluster:
        subprocess.run(
            [*command, *(f"tests/{file}" for file in FILES)],
            cwd=source,
            env=cluster.env | {"PYTHONPATH": str(source)},
            check=False,
        )
    if not report.exists():
        return 0  # the SDK ended the process
    cases = ET.parse(report).getroot().iter("testcase")  # noqa: S314 - pytest wrote it
    return sum(len(case) == 0 for case in cases)


def run_tutorial(source: Path, binary: str | None) -> str:
    """Compute a factorial with the SDK alone.

    Returns:
        `passes`, or what is wrong.
    """
    with _OnSdk(source, binary) as cluster:
        try:
            workers = [cluster.run(f"worker {i}", WORKER) for i in range(WORKERS)]
            for worker in workers:
                worker.wait_for("running")
            client = cluster.run("client", CLIENT, str(N))
            client.wait()
        except ProcessError as e:
            return f"fails: {e}"
        expected = [f"{math.factorial(N)} {source / 'resonate'}"]
        return "passes" if client.output == expected else f"prints {client.output}"


class _OnSdk(Cluster):
    """A cluster whose workers and client use the SDK in a folder."""

    def __init__(self, source: Path, binary: str | None) -> None:
        super().__init__(binary)
        self._source = source

    @override
    def env_of(self, name: str) -> dict[str, str]:
        if name == "server":
            return super().env_of(name)
        return super().env_of(name) | {"PYTHONPATH": str(self._source)}

    def run(self, name: str, program: str, *arguments: str) -> Process:
        """Start a program."""
        return self.launch(name, [sys.executable, "-c", program, *arguments])


if __name__ == "__main__":
    sys.exit(main())
