"""A program on its own terminal, and the screen that a user sees."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from typing import TYPE_CHECKING, Self

import pyte

from demo.processes import PATIENCE, tied
from tests.programs import SCRIPTS

if TYPE_CHECKING:
    from collections.abc import Callable


LINES, COLUMNS = 24, 80


class Terminal:
    """A program on a pseudo-terminal.

    Args:
        command: the program and its arguments.
        env: variables to add to the environment.
        size: the terminal's lines and columns.
    """

    def __init__(
        self, command: list[str], env: dict[str, str], size: tuple[int, int] = (LINES, COLUMNS)
    ) -> None:
        lines, columns = size
        # These two variables would override the size of the terminal.
        others = {k: v for k, v in os.environ.items() if k not in {"LINES", "COLUMNS"}}
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self._theirs = theirs
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self._unread = b""
        self.raw = b""
        self.process = subprocess.Popen(
            tied(command),
            cwd=SCRIPTS,
            env=others | {"TERM": "xterm-256color"} | env,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            # One system call in the child: it makes this terminal the controlling one.
            preexec_fn=lambda: fcntl.ioctl(theirs, termios.TIOCSCTTY, 0),  # noqa: PLW1509
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)
        os.close(self._theirs)

    @property
    def lines(self) -> list[str]:
        """The lines on the screen now."""
        return [line.rstrip() for line in self._screen.display]

    @property
    def echoes(self) -> bool:
        """Whether the terminal shows typed characters, as a shell expects."""
        return bool(termios.tcgetattr(self._theirs)[3] & termios.ECHO)

    def press(self, key: str) -> None:
        """Press a key."""
        os.write(self._ours, key.encode())

    def wait_for(self, condition: Callable[[list[str]], bool]) -> list[str]:
        """Read on until the screen meets a condition.

        The condition is checked after each line, and before the program erases a frame. So a slow
        machine does not miss a frame.

        Returns:
            The screen.
        """
        while not condition(self.lines):
            if not self._unread and not self._read():
                assert condition(self.lines), "\n".join(self.lines)
                break
            line = re.match(rb".+?(?:\n|(?=\r\x1b)|$)", self._unread, re.DOTALL)
            assert line is not None
            self._stream.feed(line[0])
            self._unread = self._unread[line.end() :]
        return self.lines

    def wait_for_text(self, *texts: str) -> list[str]:
        """Read on until the screen shows all of some texts, each in one line."""
        return self.wait_for(
            lambda lines: all(any(text in line for line in lines) for text in texts)
        )

    def _read(self) -> bool:
        """Wait for output.

        Returns:
            Whether there was output. False if the program has ended, or stays silent for long.
        """
        deadline = time.monotonic() + PATIENCE
        ended = False
        while not select.select([self._ours], [], [], 0.05)[0]:
            # This process also has the program's side of the terminal open, so it does not get an
            # end of file. The next read returns what the program printed before its end.
            if ended or time.monotonic() > deadline:
                return False
            ended = self.process.poll() is not None
        self._unread = os.read(self._ours, 1_000_000)
        self.raw += self._unread
        return True
