"""A program that runs as a process of this machine and whose output is read."""

from __future__ import annotations

import subprocess
import threading
from contextlib import suppress
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    type Listener = Callable[[Process, str | None], None]

# How long a process may take to end by itself before it is killed (seconds).
GRACE = 5.0
# How long to wait for what is bound to happen (seconds): a real server takes a minute to send
# a message again that a killed worker had not claimed.
PATIENCE = 120.0


class ProcessError(Exception):
    """A process did not do what was expected of it; the message says what."""


class Process:
    """A running program whose output is read line by line.

    Args:
        name: what to call it, like `worker 1`.
        command: the program and its arguments.
        env: its environment.
        cwd: the folder that it runs in.
        listener: called with this process and each line that it prints, on stdout or stderr,
            and with None after the last one; from threads.
    """

    def __init__(
        self,
        name: str,
        command: list[str],
        *,
        env: dict[str, str],
        cwd: Path,
        listener: Listener,
        changed: threading.Condition,
    ) -> None:
        self.name = name
        self.output: list[str] = []
        self.errors: list[str] = []
        self._listener = listener
        self._changed = changed
        self._ended = False
        self._popen = subprocess.Popen(  # noqa: S603 - the project's own programs
            command,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            process_group=0,  # the terminal's Ctrl-C is for the one who started it
        )
        threading.Thread(target=self._watch, daemon=True).start()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._popen.pid

    @property
    def alive(self) -> bool:
        """Whether it runs, or has printed something that is not read yet."""
        return not self._ended

    def wait(self, timeout: float = PATIENCE) -> int:
        """Wait until the process has ended and all that it printed is read.

        Returns:
            The exit code; minus the signal's number where a signal ended it.

        Raises:
            ProcessError: it runs for longer than `timeout` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._ended, timeout):
                raise ProcessError(f"{self.name} did not end within {timeout} s")
        return self._popen.wait()

    def printed(self, text: str) -> bool:
        """Tell whether a line that it has printed, on stdout or stderr, contains a text."""
        return any(text in line for line in self.output + self.errors)

    def wait_for(self, text: str, timeout: float = PATIENCE) -> None:
        """Wait until the process prints a line, on stdout or stderr, that contains a text.

        Raises:
            ProcessError: it ends without, or takes longer than `timeout` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self.printed(text) or self._ended, timeout):
                raise ProcessError(f"{self.name} did not print {text!r} within {timeout} s")
            if not self.printed(text):
                said = (self.errors + self.output + ["nothing"])[0]
                raise ProcessError(f"{self.name} has ended, saying: {said}")

    def send_signal(self, number: int) -> None:
        """Send the process a signal, if it still runs."""
        self._popen.send_signal(number)

    def kill(self) -> None:
        """End the process with SIGKILL, and wait until it is gone."""
        self._popen.kill()
        self.wait()

    def stop(self) -> None:
        """End the process with SIGTERM, and with SIGKILL where it takes too long."""
        self._popen.terminate()
        try:
            with suppress(ProcessError):
                self.wait(GRACE)
        finally:
            self.kill()

    def _watch(self) -> None:
        assert self._popen.stdout is not None
        assert self._popen.stderr is not None
        errors = threading.Thread(
            target=self._read, args=(self._popen.stderr, self.errors), daemon=True
        )
        errors.start()
        self._read(self._popen.stdout, self.output)
        errors.join()
        self._popen.wait()
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._listener(self, None)

    def _read(self, stream: IO[str], lines: list[str]) -> None:
        with stream:
            for line in stream:
                text = line.rstrip("\n")
                with self._changed:
                    lines.append(text)
                    self._changed.notify_all()
                self._listener(self, text)
