"""Starts Python programs fast, by a fork of a process that has already imported their libraries.

A worker, a client or a devserver spends most of its start on imports. A program that starts
hundreds of them can save that time. Each forked process runs its script from the top.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import runpy
import signal
import sys
import threading
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import IO, TYPE_CHECKING

from cluster.reaper import REAPER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["plumbing", "devserver.server", "devserver.store.database"])
# multiprocessing reads the exit codes of ended processes whenever it starts one. If two threads
# read the same exit code, one of them overwrites it with 255.
_lock = threading.Lock()


class Forked:
    """Stands in for `subprocess.Popen` of a Python program, as far as `Process` uses it.

    Args:
        command: the interpreter, and a script or `-m` and a module, and arguments.
        env: its environment.
        cwd: the folder that it runs in.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        env: Mapping[str, str] | None,
        cwd: Path | None,
    ) -> None:
        out, child_out = _context.Pipe(duplex=False)
        err, child_err = _context.Pipe(duplex=False)
        program = [str(part) for part in command[1:]]
        child_go, go = _context.Pipe(duplex=False)
        pipes = (child_go, child_out, child_err)
        arguments = (program, dict(env or os.environ), cwd or Path.cwd(), pipes)
        self._process = _context.Process(target=_become, args=arguments, daemon=True)
        with _lock:
            self._process.start()
        for end in pipes:
            end.close()
        assert self._process.pid is not None
        self.pid = self._process.pid
        os.read(out.fileno(), 1)  # the byte says that its process group exists
        # If this program is killed before the reaper knows the group, the pipe closes, and the
        # forked process ends.
        REAPER.add(self.pid)
        with go, suppress(BrokenPipeError):
            os.write(go.fileno(), b"\n")
        self.stdout = _reader(out)
        self.stderr = _reader(err)

    def wait(self) -> int:
        """Wait until it has ended; see `subprocess.Popen`."""
        wait([self._process.sentinel])
        with _lock:
            self._process.join()
        assert self._process.exitcode is not None
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended: then its id may belong to another process."""
        if not wait([self._process.sentinel], 0):
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send it SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send it SIGKILL."""
        self.send_signal(signal.SIGKILL)


def _reader(end: Connection) -> IO[str]:
    with end:
        return open(os.dup(end.fileno()), encoding="utf-8", errors="replace")  # noqa: PTH123


def _become(
    command: list[str],
    env: dict[str, str],
    cwd: Path,
    pipes: tuple[Connection, Connection, Connection],
) -> None:
    """Turn the forked process into the program."""
    go, out, err = pipes
    os.setpgid(0, 0)
    try:
        os.write(out.fileno(), b"\n")
    except BrokenPipeError:
        return
    if not os.read(go.fileno(), 1):
        return
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123
        os.dup2(nothing.fileno(), 0)
    os.dup2(out.fileno(), 1)
    os.dup2(err.fileno(), 2)
    for end in pipes:
        end.close()
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), write_through=True)
    sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), write_through=True)
    if command[0] == "-m":
        sys.argv = command[1:]
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = command
        runpy.run_path(command[0], run_name="__main__")
