"""A program on a terminal of its own, and what a person would see there."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
import time
from typing import TYPE_CHECKING, Self

import pyte

from cluster import PATIENCE, ROOT
from cluster.reaper import REAPER

if TYPE_CHECKING:
    from collections.abc import Callable


LINES, COLUMNS = 24, 80


class Terminal:
    """Runs a program on a pseudo-terminal and reads its screen.

    Args:
        command: the program and its arguments.
        env: what is changed in the environment.
    """

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        self._theirs = theirs
        self._screen = pyte.Screen(COLUMNS, LINES)
        self._stream = pyte.ByteStream(self._screen)
        self.raw = b""
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | {"TERM": "xterm-256color"} | env,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            # One system call in the child: it makes this terminal its own.
            preexec_fn=lambda: fcntl.ioctl(theirs, termios.TIOCSCTTY, 0),  # noqa: PLW1509
        )
        REAPER.add(self.process.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        REAPER.remove(self.process.pid)
        os.close(self._ours)
        os.close(self._theirs)

    @property
    def lines(self) -> list[str]:
        """What is on the screen now."""
        return [line.rstrip() for line in self._screen.display]

    @property
    def echoes(self) -> bool:
        """Whether the terminal shows what is typed, as a shell expects it to."""
        return bool(termios.tcgetattr(self._theirs)[3] & termios.ECHO)

    def press(self, key: str) -> None:
        """Press a key."""
        os.write(self._ours, key.encode())

    def wait_for(self, condition: Callable[[list[str]], bool]) -> list[str]:
        """Read on until the screen meets a condition.

        Returns:
            The screen.
        """
        os.set_blocking(self._ours, False)
        deadline = time.monotonic() + PATIENCE
        while not condition(self.lines):
            ended = self.process.poll() is not None
            try:
                read = os.read(self._ours, 1_000_000)
            except BlockingIOError:
                assert not ended, "\n".join(self.lines)
                assert time.monotonic() < deadline, "\n".join(self.lines)
                time.sleep(0.01)  # a pseudo-terminal has no other way to wait with a limit
            else:
                self.raw += read
                self._stream.feed(read)
        return self.lines

    def wait_for_text(self, text: str) -> list[str]:
        """Read on until a line on the screen contains a text."""
        return self.wait_for(lambda lines: any(text in line for line in lines))
