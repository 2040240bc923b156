"""strace, which shows a program's system calls and can make them fail."""

from __future__ import annotations

import shutil
import subprocess

import pytest


def _can_trace() -> bool:
    strace = shutil.which("strace")
    if strace is None:
        return False
    command = [strace, "-o", "/dev/null", "true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


needs_strace = pytest.mark.skipif(
    not _can_trace(), reason="needs strace, and permission to trace a process"
)
