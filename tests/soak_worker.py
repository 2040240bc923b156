"""A worker of the soak test: a chain of calls whose ids are new in each run."""

from __future__ import annotations

from threading import Event
from typing import TYPE_CHECKING, Any

from resonate import Context  # noqa: TC002 - the SDK reads the annotation

from plumbing import Resonate
from plumbing.terminal import run as run_program

if TYPE_CHECKING:
    from collections.abc import Generator

resonate = Resonate.remote(group="soak")


@resonate.register
def chain(ctx: Context, run: str, n: int) -> Generator[Any, Any, int]:
    """Return n, with a durable promise for each level."""
    if n == 0:
        return 0
    below: int = yield ctx.rpc("chain", run, n - 1).options(
        target="poll://any@soak", id=f"{run}-{n - 1}"
    )
    return below + 1


def main() -> None:
    """Run until SIGINT or SIGTERM."""
    resonate.start()
    print("The soak worker is running...")
    Event().wait()


if __name__ == "__main__":
    run_program(main, "Soak worker stopped.", 0)
