"""Ctrl-C, output and waiting at a terminal. Works with any connection, including the SDK's own."""

from __future__ import annotations

import atexit
import io
import os
import queue
import signal
import socket
import sys
import time
from contextlib import contextmanager
from math import log10
from threading import Event, Thread, current_thread, main_thread
from typing import TYPE_CHECKING, Final, override

if TYPE_CHECKING:
    from collections.abc import Buffer, Callable, Iterator

MAX_WAITING: Final = 10_000  # the writes that wait while a terminal is blocked


def run(main: Callable[[], None], farewell: str, code: int) -> None:
    """Run a program that prints from several threads until it ends, or until Ctrl-C or SIGTERM.

    Args:
        main: the program. It can print integers of any length.
        farewell: what to print after Ctrl-C or SIGTERM: on stderr, or on stdout if the code is 0.
        code: the exit code after Ctrl-C or SIGTERM.

    Raises:
        SystemExit: stdout is closed, or the program cannot use the server.
    """
    if sys.stdout is None:
        sys.exit("Cannot write to stdout: it is closed.")
    sys.set_int_max_str_digits(0)
    outputs = [_Output(1)]
    sys.stdout = outputs[0].text(sys.stdout.encoding)
    if sys.stderr is not None:
        outputs.append(_Output(2))
        sys.stderr = outputs[1].text(sys.stderr.encoding)

    def stop() -> None:
        print(farewell, file=sys.stderr if code else sys.stdout)
        for output in outputs:
            output.drain(1)
        os._exit(code)  # does not wait for the SDK's threads; other workers take over the calls

    _on_signal(stop)
    for output in outputs:
        atexit.register(output.drain)
    try:
        main()
    except ConnectionError as e:
        sys.exit(str(e))


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Show on a terminal for how long the program has been waiting.

    Args:
        what: the name of the result that it waits for.
    """
    ended = Event()
    began = time.monotonic()

    def show() -> None:
        while not ended.wait(1):
            # The next printed line starts at the left, and overwrites this one.
            seconds = time.monotonic() - began
            print(f"Waiting for {what}: {seconds:.0f} s", end="\r", file=sys.stderr, flush=True)
        print("\x1b[K", end="", file=sys.stderr, flush=True)

    thread = Thread(target=show)
    if sys.stderr is not None and sys.stderr.isatty():
        thread.start()
    try:
        yield
    finally:
        ended.set()
        if thread.is_alive():
            thread.join()


def shortened(value: int) -> str:
    """Write an integer. If it has more than 40 digits, write only the first and the last ones.

    Python would need milliseconds to write all digits of a long integer.
    """
    if abs(value) < 10**40:
        return str(value)
    left_out = int(log10(abs(value))) - 12  # it may be off by one
    first = str(abs(value) // 10**left_out)
    sign = "-" if value < 0 else ""
    last = abs(value) % 10**10
    return f"{sign}{first[:10]}...{last:010} ({left_out + len(first)} digits)"


def _on_signal(stop: Callable[[], None]) -> None:
    """Call a function in a new thread after SIGINT or SIGTERM.

    Python runs its own signal handlers in the main thread, which may be blocked. Blocking the
    signals instead would block them in child processes too.
    """
    numbers = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as in a shell's background job
        numbers.append(signal.SIGINT)
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    for number in numbers:
        signal.signal(number, lambda *_: None)

    def wait() -> None:
        while ours.recv(1)[0] not in numbers:
            pass
        theirs.close()
        stop()

    Thread(target=wait, name="signals", daemon=True).start()


class _Output(io.RawIOBase):
    """A file that writes on a separate thread, so that a blocked terminal does not delay a call.

    Args:
        fd: its descriptor: 1, or 2.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._queue = queue.Queue[bytes | Event](MAX_WAITING)
        self._dropped = 0
        Thread(target=self._work, name="output", daemon=True).start()

    def text(self, encoding: str) -> io.TextIOWrapper:
        """Return a text file that writes each line at once."""
        buffer = io.BufferedWriter(self)
        return io.TextIOWrapper(buffer, encoding, "backslashreplace", line_buffering=True)

    def drain(self, timeout: float | None = None) -> None:
        """Wait until everything is written, for at most `timeout` seconds."""
        written = Event()
        try:
            self._queue.put(written, timeout=timeout)
        except queue.Full:
            return
        written.wait(timeout)

    @override
    def fileno(self) -> int:
        return self._fd

    @override
    def isatty(self) -> bool:
        return os.isatty(self._fd)

    @override
    def writable(self) -> bool:
        return True

    @override
    def write(self, data: Buffer) -> int:
        content = bytes(data)
        try:
            # The main thread does not run calls, so it may wait.
            self._queue.put(content, block=current_thread() is main_thread())
        except queue.Full:
            self._dropped += 1
        return len(content)

    def _work(self) -> None:
        while True:
            item = self._queue.get()
            if isinstance(item, Event):
                item.set()
                continue
            if self._dropped:
                item += (
                    f"[{self._dropped} lines are missing here: the output was blocked]\n".encode()
                )
                self._dropped = 0
            try:
                while item:
                    item = item[os.write(self._fd, item) :]
            except OSError as e:
                self._failed(e)

    def _failed(self, problem: OSError) -> None:
        if self._fd == 1:
            # An exception in a call would reject its promise, so the program ends instead.
            if not isinstance(problem, BrokenPipeError):  # as with `| head -1`
                os.write(2, f"Cannot write to stdout: {problem.strerror}. Stopped.\n".encode())
            os._exit(1)
