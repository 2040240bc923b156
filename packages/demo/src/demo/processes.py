"""A program that runs as a process, and its output."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    type Listener = Callable[[Process, str | None], None]

# How long a process may take to end after SIGTERM before it is killed (seconds).
GRACE = 30.0
# How long to wait for an event (seconds). This is a safety net: after the kill of a worker, a real
# server takes a minute to send the worker's message again, and a busy machine takes longer.
PATIENCE = 600.0
# How much of a failed process's output is shown: lines, and characters of each.
LAST_LINES, LINE_LENGTH = 20, 200

# Asks Linux to kill this process together with its parent (PR_SET_PDEATHSIG), and becomes the
# program. It is a program of its own because Python code between fork and exec can deadlock if the
# parent has threads. If the parent has already ended, its id is not this process's parent.
TIE = """\
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() == int(sys.argv[1]):
    os.execvp(sys.argv[2], sys.argv[2:])
"""
# Linux sends that signal when the *thread* that started the process ends. So one thread, which
# lives as long as this program, starts all of them.
_starter = ThreadPoolExecutor(1)


class ProcessError(Exception):
    """A process did not do what the caller waited for. The message says which process, and what."""


def tied(command: Sequence[str | Path]) -> Sequence[str | Path]:
    """Make a command whose process Linux kills when the thread that starts it ends.

    On macOS, which cannot do this, the command stays as it is.
    """
    if sys.platform != "linux":
        return command
    return [sys.executable, "-I", "-S", "-c", TIE, str(os.getpid()), *command]


def visible(text: str) -> str:
    """Replace control characters, which a terminal would obey, by their escapes."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


class Process:
    """A running program whose output is read line by line.

    The process has its own group, so Ctrl-C in the terminal does not reach it. If this program is
    killed, Linux kills the process too. On macOS, the process then keeps running.

    It is a context manager: on exit, the process and its group are killed if they still run.

    Args:
        name: its name in messages, like `worker 1`.
        command: the program and its arguments.
        env: its environment; None takes this program's.
        cwd: the folder that it runs in; None takes this program's.
        listener: called with this process and each line that it prints to stdout or stderr,
            and with None after the last one. The calls come from other threads.
        changed: notified of each line and of the end; several processes may share it.

    Raises:
        ProcessError: the program does not exist.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        listener: Listener = lambda _process, _line: None,
        changed: threading.Condition | None = None,
    ) -> None:
        if shutil.which(command[0]) is None:
            raise ProcessError(f"{command[0]} is not an executable file")
        self.name = name
        self.output: list[str] = []
        self.errors: list[str] = []
        self._listener = listener
        self._changed = changed or threading.Condition()
        self._ended = False
        self._popen = _starter.submit(
            subprocess.Popen[str],
            tied(command),
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            process_group=0,
        ).result()
        threading.Thread(target=self._watch, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """The process id, which is the id of its group too."""
        return self._popen.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs, or has printed lines that are not read yet."""
        return not self._ended

    @property
    def ending(self) -> str:
        """A message for the user after the end: the exit code, and the last lines."""
        lines = [visible(line)[:LINE_LENGTH] for line in self.output + self.errors]
        return "\n".join([f"{self.name} exited with code {self.wait()}:", *lines[-LAST_LINES:]])

    def wait(self, timeout: float = PATIENCE) -> int:
        """Wait until the process has ended and all of its output is read.

        Args:
            timeout: how long to wait, in seconds.

        Returns:
            The exit code; if a signal ended the process, minus the signal's number.

        Raises:
            ProcessError: the process still runs after `timeout` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._ended, timeout):
                raise ProcessError(f"{self.name} did not exit within {timeout} s")
        return self._popen.wait()

    def printed(self, text: str) -> bool:
        """Tell whether a line of its output, on stdout or stderr, contains a text."""
        return any(text in line for line in self.output + self.errors)

    def wait_for(self, text: str) -> None:
        """Wait until the process prints a line, on stdout or stderr, that contains a text.

        Raises:
            ProcessError: the process ends first, or does not print such a line within `PATIENCE`
                seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self.printed(text) or self._ended, PATIENCE):
                raise ProcessError(f"{self.name} did not print {text!r} within {PATIENCE} s")
            if not self.printed(text):
                raise ProcessError(self.ending)

    def send_signal(self, number: int) -> None:
        """Send the process a signal, if it still runs."""
        self._popen.send_signal(number)

    def kill(self) -> None:
        """End the process and its group with SIGKILL, and wait until they have ended."""
        if not self._ended:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        self.wait()

    def stop(self) -> None:
        """End the process with SIGTERM; after `GRACE` seconds, with SIGKILL."""
        self.send_signal(signal.SIGTERM)
        with suppress(ProcessError):
            self.wait(GRACE)
        self.kill()

    def _watch(self) -> None:
        with self._popen as popen:
            assert popen.stdout is not None
            assert popen.stderr is not None
            errors = threading.Thread(target=self._read, args=(popen.stderr, self.errors))
            errors.start()
            self._read(popen.stdout, self.output)
            errors.join()
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._listener(self, None)

    def _read(self, stream: IO[str], lines: list[str]) -> None:
        for line in stream:
            text = line.rstrip("\n")
            with self._changed:
                lines.append(text)
                self._changed.notify_all()
            self._listener(self, text)
