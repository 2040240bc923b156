"""Run the SDK's own tests of a server on devserver.

    uv run --with pip python -m tests.sdk_suite

The tests are in the SDK's source distribution, which this downloads by its name.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.programs import Server

FILES = ("test_store_promise.py", "test_store_task.py", "test_store_schedules.py", "test_bridge.py")
# This one expects that a repeated claim is refused. Devserver answers it, so that the SDK lives on.
REPEATED_CLAIM = "test_case_12_transition_from_claimed_to_claimed_via_claim"
# How many of the others passed on the real server, on an empty database.
COUNT = 400


def main() -> int:
    """Download the tests of the installed version, and run them.

    Returns:
        The exit code: 0 if as many tests passed as on the real server.
    """
    sdk = f"resonate-sdk=={version('resonate-sdk')}"
    with TemporaryDirectory() as folder:
        passed = count_passed(download(sdk, Path(folder)))
    print(f"{sdk}, Python {sys.version.split()[0]}: {passed} of {COUNT} tests pass")
    return 0 if passed == COUNT else 1


def download(sdk: str, folder: Path) -> Path:
    """Get the source distribution of a version. Returns the folder with its content."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    subprocess.run([*command, "--no-binary", "resonate-sdk", sdk], cwd=folder, check=True)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


def count_passed(source: Path) -> int:
    """Run the SDK's own tests of a remote store, and count those that pass."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    # The tests import the SDK beside them, of the same version.
    command += ["--import-mode=importlib", "-W", "ignore", "--timeout", "300"]
    command += ["-k", f"RemoteStore and not {REPEATED_CLAIM}"]
    with Server() as server:
        done = subprocess.run(
            [*command, *(f"tests/{file}" for file in FILES)],
            cwd=source,
            env=os.environ | server.env | {"PYTHONPATH": str(source)},
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
    print(done.stdout)
    passed = re.search(r"(\d+) passed", done.stdout)
    return int(passed[1]) if passed else 0


if __name__ == "__main__":
    sys.exit(main())
