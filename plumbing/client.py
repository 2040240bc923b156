"""The client's side."""

from __future__ import annotations

import concurrent.futures
import sys
import time
from bisect import bisect_left
from typing import TYPE_CHECKING, Any, NoReturn, override

from resonate.errors import ResonateError

from plumbing.remote import Remote, check_environment
from plumbing.store import START_SERVER, RefusedError
from plumbing.terminal import fail, prepare_output, say, show

if TYPE_CHECKING:
    from resonate.models.handle import Handle

START_WORKER = "uv run python factorial_worker.py"


class Client(Remote):
    """A client's connection to the server; what goes wrong, it says in a line or two."""

    @override
    def rpc(self, id: str, func: Any, *args: Any, **kwargs: Any) -> Any:
        """Call a function and wait for its result; see `Resonate.rpc`.

        Args:
            id: the promise's id; where it ends in `-` and a number, waiting shows how many of the
                promises from 1 up to that number are done.
            func: the function's name.
            args: the function's arguments.
            kwargs: the function's named arguments.

        Raises:
            SystemExit: it cannot be had; stderr says why.
        """
        prepare_output()
        check_environment()
        try:
            self._connect()
            handle = self.begin_rpc(id, func, *args, **kwargs)
            self._wait(handle)
            return handle.result()
        except KeyboardInterrupt:
            say(f"Interrupted. {id} goes on without this client; ask again for its result.")
            sys.exit(130)
        except Exception as e:  # noqa: BLE001 - a rejected promise may carry any of them
            self._explain(id, e)

    def _connect(self) -> None:
        deadline = time.monotonic() + 1.5
        while problem := self._server.problem():
            if time.monotonic() > deadline:
                fail(f"{problem} {START_SERVER}")
            time.sleep(0.2)
        self.start()
        if not self._messages.connected.wait(1.5):
            fail(f"No Resonate server at {self._messages.origin} (messages). {START_SERVER}")

    def _wait(self, handle: Handle[Any]) -> None:
        """Wait for a promise, show that the program lives, and say so when nothing happens."""
        begin = changed = time.monotonic()
        levels = (1, 0)  # the call itself has its promise
        hint = f"Still waiting for {handle.id}. Is a worker running? Start one with: {START_WORKER}"
        often = 1 if sys.stderr.isatty() else 2.5  # seconds; it costs the server some requests
        while not handle.done():
            concurrent.futures.wait([handle.future], often)
            now = time.monotonic()
            if levels != (levels := self._levels(handle.id)):
                changed = now
            elif now - changed > 5 and hint:
                say(hint)
                hint = ""
            show(f"{now - begin:.0f} s: {levels[0]} calls made, {levels[1]} done")
        show("")

    def _levels(self, promise: str) -> tuple[int, int]:
        """Count the calls that the server has a promise for, and those that are done."""
        name, _, number = promise.rpartition("-")
        if not number.isdecimal():
            return (1, 0)
        n = int(number)

        def state(k: int) -> str:
            try:
                return self.promises.get(f"{name}-{k}").state
            except RefusedError:
                return ""

        done = bisect_left(range(1, n + 1), True, key=lambda k: state(k) != "RESOLVED")
        above = range(done + 1, n + 1)
        return n - bisect_left(above, True, key=lambda k: state(k) != ""), done

    def _explain(self, promise: str, error: Exception) -> NoReturn:
        reason = error.mesg if isinstance(error, ResonateError) else str(error)
        if isinstance(error, RefusedError):
            fail(f"The server refused {promise}: {reason}")
        say(f"{promise} is {self.promises.get(promise).state}: {reason}")
        fail(
            "A promise keeps its answer for ever. To ask afresh, stop the server and the workers,\n"
            "delete the server's data (devserver.db), and start them again."
        )
