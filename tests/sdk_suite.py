"""Run the SDK's own tests of its remote store against a devserver, or a server of your own.

    uv run --all-groups --with pip python -m tests.sdk_suite [--resonate=BINARY]

They come with the SDK's source distribution, which this downloads by its name. The real server
passes all 401 of them on an empty database.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path

from cluster import Cluster

FILES = ("test_store_promise.py", "test_store_task.py", "test_store_schedules.py", "test_bridge.py")


def main() -> int:
    """Download the tests and run them.

    Returns:
        The exit code of pytest.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.sdk_suite", description=__doc__)
    parser.add_argument("--resonate", metavar="BINARY", help="a real legacy Resonate server")
    binary = parser.parse_args().resonate
    with tempfile.TemporaryDirectory() as folder, Cluster(binary) as cluster:
        source = download(Path(folder))
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        # What the tests import is the SDK beside them, of the same version.
        command += ["--import-mode=importlib", "-W", "ignore", "--timeout", "60"]
        command += ["-k", "RemoteStore", *(f"tests/{name}" for name in FILES)]
        return subprocess.run(command, cwd=source, env=cluster.env, check=False).returncode


def download(folder: Path) -> Path:
    """Get the source distribution of the SDK that is installed.

    Returns:
        The folder with its content.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--no-binary", "resonate-sdk", f"resonate-sdk=={version('resonate-sdk')}"]
    subprocess.run(command, cwd=folder, check=True)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


if __name__ == "__main__":
    sys.exit(main())
