"""Reads single keys from the terminal."""

from __future__ import annotations

import os
import termios
import threading
import tty
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def pressed_keys(listener: Callable[[str], None]) -> Iterator[bool]:
    """Read each key at once inside the block, without Enter and without an echo.

    Args:
        listener: called with each character, from a thread.

    Yields:
        Whether it reads keys: only if this program is in the foreground of its terminal.
    """
    terminal = 0  # stdin, even if it is closed
    try:
        is_foreground = os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:  # stdin is not a terminal, or is the terminal of another session
        is_foreground = False
    if not is_foreground:
        yield False
        return

    def listen() -> None:
        while key := os.read(terminal, 1):
            listener(key.decode("ascii", "replace"))

    before = termios.tcgetattr(terminal)
    tty.setcbreak(terminal)
    try:
        threading.Thread(target=listen, daemon=True).start()
        yield True
    finally:
        # Otherwise the shell would read keys that were pressed late.
        termios.tcflush(terminal, termios.TCIFLUSH)
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
