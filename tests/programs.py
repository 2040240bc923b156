"""The two scripts and other programs, started as a user starts them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from demo.processes import Process

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[1]
# A time far in the future, in ms since the epoch.
FAR = 4_000_000_000_000


def start(*arguments: str, env: Mapping[str, str] | None = None) -> Process:
    """Start a script, or `-m` and a module, with this Python.

    Args:
        arguments: the command line after `python`.
        env: variables to add to the environment. Its own `RESONATE_` variables are removed.
    """
    others = {k: v for k, v in os.environ.items() if not k.startswith("RESONATE_")}
    environment = others | {"PYTHONUNBUFFERED": "1"} | dict(env or {})
    return Process(" ".join(arguments), [sys.executable, *arguments], env=environment, cwd=ROOT)


def run(*arguments: str, env: Mapping[str, str] | None = None) -> Process:
    """Run a program to its end; see `start`."""
    with start(*arguments, env=env) as process:
        process.wait()
    return process
