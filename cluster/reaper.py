"""Kills the processes that a program started and did not stop before it ended.

A program that ends by SIGKILL cannot stop its children. So the program starts one more process,
which runs this file, and tells it through a pipe which process groups run. The kernel closes the
pipe when the program ends, for whatever reason. The reaper then kills the groups that still run.

A pipe works on Linux and on macOS. Linux's PR_SET_PDEATHSIG does not replace it: that signal comes
when the *thread* that started the child ends, and only code between fork and exec can ask for it.
"""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress


class Reaper:
    """The pipe to the reaper of this program, which starts with the first group."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def add(self, group: int) -> None:
        """Tell the reaper that a process group runs.

        Args:
            group: the id of its first process, which is the group's id too.
        """
        self._tell("+", group)

    def remove(self, group: int) -> None:
        """Tell the reaper that the processes of a group have ended."""
        self._tell("-", group)

    def _tell(self, sign: str, group: int) -> None:
        with self._lock:
            if self._process is None:
                self._process = subprocess.Popen(  # noqa: S603 - this very file
                    [sys.executable, "-I", "-S", __file__],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,  # Ctrl-C and a kill of the program's group miss it
                )
                atexit.register(self._process.communicate)
            assert self._process.stdin is not None
            # The reaper is only a safety net: a program whose reaper was killed goes on.
            with suppress(BrokenPipeError):
                os.write(self._process.stdin.fileno(), f"{sign}{group}\n".encode())


REAPER = Reaper()


def main() -> None:
    """Read from stdin which groups start (`+12`) and end (`-12`); at its end, kill the others."""
    running: set[int] = set()
    for line in sys.stdin:
        group = int(line[1:])
        if line[0] == "+":
            running.add(group)
        else:
            running.discard(group)
    for group in running:
        with suppress(ProcessLookupError, PermissionError):  # its processes have just ended
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
