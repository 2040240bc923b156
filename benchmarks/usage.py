"""The CPU time and the memory of a process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from demo.processes import Process


def cpu(process: Process) -> float:
    """Return the CPU time that a process has used (seconds)."""
    times = psutil.Process(process.pid).cpu_times()
    return float(times.user + times.system)


def peak_memory(process: Process) -> float:
    """Return the most memory that a process has had (megabytes); without /proc, its memory now."""
    status = Path(f"/proc/{process.pid}/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1000
    return float(psutil.Process(process.pid).memory_info().rss) / 1e6
