"""Kills the processes and deletes the folders that a program leaves behind when it is killed.

A program that ends by SIGKILL cannot stop its children. So the program starts one more process, the
reaper, which runs this file, and sends it the names of its process groups and folders through a
pipe. However the program ends, the kernel closes the pipe. The reaper then removes everything that
is left.

A pipe works on Linux and on macOS. Linux's PR_SET_PDEATHSIG does not replace it: that signal comes
when the *thread* that started the child ends, and only code between fork and exec can ask for it.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path


class Reaper:
    """The pipe to the reaper of this program, which starts at the first `add`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def add(self, item: int | Path) -> None:
        """Tell the reaper what to remove after the end of this program.

        Args:
            item: a folder, or a process group, by the id of its first process.
        """
        self._tell(f"+{item}\n")

    def remove(self, item: int | Path) -> None:
        """Tell the reaper that a process group has ended, or that a folder is deleted."""
        self._tell(f"-{item}\n")

    def _tell(self, line: str) -> None:
        with self._lock:
            if self._process is None:
                self._process = subprocess.Popen(  # noqa: S603 - this very file
                    [sys.executable, "-I", "-S", __file__],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,  # out of reach of Ctrl-C and kills of the group
                )
                atexit.register(self._close)
            assert self._process.stdin is not None
            if self._process.stdin.closed:
                return
            # The reaper is only a safety net, so the program continues without it.
            with suppress(BrokenPipeError):
                os.write(self._process.stdin.fileno(), line.encode())

    def _close(self) -> None:
        """Let the reaper kill what still runs, while threads may still call `remove`."""
        with self._lock:
            assert self._process is not None
            self._process.communicate()


REAPER = Reaper()


def main() -> None:
    """Read from stdin what starts (`+12`, `+/tmp/x`) and ends (`-12`), and remove the rest."""
    left: set[str] = set()
    for line in sys.stdin:
        change = left.add if line[0] == "+" else left.discard
        change(line[1:].rstrip("\n"))
    groups = {item for item in left if item.isdecimal()}
    for group in groups:
        with suppress(ProcessLookupError, PermissionError):  # its processes have just ended
            os.killpg(int(group), signal.SIGKILL)
    for folder in left - groups:
        for _ in range(100):  # a process can create files until the signal arrives
            shutil.rmtree(folder, ignore_errors=True)
            if not Path(folder).exists():
                break
            time.sleep(0.1)


if __name__ == "__main__":
    main()
