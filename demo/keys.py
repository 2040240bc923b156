"""Reads single keys from the terminal."""

from __future__ import annotations

import os
import sys
import termios
import threading
import tty
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def has_keys() -> bool:
    """Tell whether this program is in the foreground of a terminal."""
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except OSError:  # stdin is not a terminal, or is the terminal of another session
        return False


@contextmanager
def pressed_keys(listener: Callable[[str], None]) -> Iterator[None]:
    """Read each key at once inside the block, without Enter and without an echo.

    Args:
        listener: called with each character, from a thread.
    """
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)

    def listen() -> None:
        while key := os.read(terminal, 1):
            listener(key.decode("ascii", "replace"))

    tty.setcbreak(terminal)
    try:
        threading.Thread(target=listen, daemon=True).start()
        yield
    finally:
        termios.tcflush(
            terminal, termios.TCIFLUSH
        )  # otherwise the shell would read keys that were pressed late
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
