"""The project's programs, started as a user starts them, and what they leave behind."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from demo.processes import PATIENCE, Process

if TYPE_CHECKING:
    from collections.abc import Mapping

# The folder of the tutorial's scripts.
SCRIPTS = Path(__file__).parents[3]


def start(
    *arguments: str | Path, cwd: Path = SCRIPTS, env: Mapping[str, str] | None = None
) -> Process:
    """Start a script, or `-m` and a module, with this Python.

    Args:
        arguments: the command line after `python`.
        cwd: the folder that it runs in.
        env: variables to add to the environment. Its own `RESONATE_` variables are removed.
    """
    others = {k: v for k, v in os.environ.items() if not k.startswith("RESONATE_")}
    environment = others | {"PYTHONUNBUFFERED": "1"} | dict(env or {})
    name = " ".join(map(str, arguments))
    return Process(name, [sys.executable, *arguments], env=environment, cwd=cwd)


def run(*arguments: str | Path, env: Mapping[str, str] | None = None) -> Process:
    """Run a program to its end; see `start`."""
    with start(*arguments, env=env) as process:
        process.wait()
    return process


def running(folder: Path) -> list[str]:
    """List the processes that were started with this folder as their TMPDIR."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # it has just ended, or belongs to another user
            if process.environ().get("TMPDIR") == str(folder):
                found.append(" ".join(process.cmdline()))
    return found


def wait_for_end(folder: Path) -> None:
    """Wait until no process runs that was started with this folder as its TMPDIR."""
    deadline = time.monotonic() + PATIENCE
    while left := running(folder):
        assert time.monotonic() < deadline, left
        time.sleep(0.02)  # only a process's parent is notified of its end
