"""The worker's side."""

from __future__ import annotations

import os
import signal
import time
from threading import Thread
from typing import override

from plumbing.remote import Remote, check_environment
from plumbing.terminal import prepare_output, say


class Worker(Remote):
    """A worker's connection to the server; neither a lost server nor a strange call ends it."""

    @override
    def start(self) -> None:
        """Connect to the server, however long that takes, and begin to take calls.

        Raises:
            SystemExit: what is there is no server for this SDK; stderr says why.
        """
        prepare_output()
        _stop_on_signals()
        check_environment()
        if problem := self._server.problem():
            say(f"{problem} Waiting for it.")
            while self._server.problem():
                time.sleep(1)
        super().start()
        if not self._messages.connected.wait(1):
            problem = f"No Resonate server at {self._messages.origin} (messages)."
            say(f"{problem} Waiting for it.")
            self._messages.connected.wait()
        if problem:
            say(f"Connected to the server at {self._server.url}.")


def _stop_on_signals() -> None:
    """End the worker at once on Ctrl-C or SIGTERM: what it was doing, another one takes over.

    A thread waits for the signals, because Python's own handlers run when the main thread wakes,
    which it may not do where the kernel chose another thread.
    """
    numbers = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)  # in this thread, and those that it starts

    def stop() -> None:
        signal.sigwait(numbers)
        print("Factorial worker stopped.")
        os._exit(0)

    Thread(target=stop, daemon=True).start()
