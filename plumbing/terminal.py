"""What is printed, and how."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from math import log10
from typing import TYPE_CHECKING, NoReturn, override

if TYPE_CHECKING:
    from collections.abc import Buffer

# Python refuses to print a number of more than 4,300 digits unless it is told not to.
sys.set_int_max_str_digits(0)


def shortened(value: int) -> str:
    """Write a number by its first and last digits where it has more than 40.

    Those in between are never made: for thousands of digits Python takes milliseconds.
    """
    if abs(value) < 10**40:
        return str(value)
    left_out = int(log10(abs(value))) - 12  # it may be off by one
    first = str(abs(value) // 10**left_out)
    sign = "-" if value < 0 else ""
    last = abs(value) % 10**10
    return f"{sign}{first[:10]}...{last:010} ({left_out + len(first)} digits)"


class _Output(io.FileIO):
    """Stdout that ends the program when it breaks: an error in a call would reject its promise."""

    @override
    def write(self, data: Buffer) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:  # nobody reads any more, as with `| head -1`
            os._exit(1)
        except OSError as e:
            say(f"Cannot write to stdout: {e.strerror}. Stopped.")
            os._exit(1)


def prepare_output() -> None:
    """Make stdout print each line at once, whatever letters it has, or end the program."""
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_Output(1, "w", closefd=False)),
        encoding=sys.stdout.encoding,
        errors="backslashreplace",
        line_buffering=True,
    )


def show(text: str) -> None:
    """Write over the last line of a terminal, and nowhere else."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def say(text: str) -> None:
    """Print to stderr."""
    with suppress(OSError):
        show("")
        print(text, file=sys.stderr, flush=True)


def fail(text: str) -> NoReturn:
    """Print to stderr and end the program.

    Raises:
        SystemExit: always.
    """
    say(text)
    sys.exit(1)
