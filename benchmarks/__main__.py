"""`python -m benchmarks`: run the benchmarks, or say how to install what they need."""

from __future__ import annotations

import sys

try:
    from benchmarks.program import main
except ModuleNotFoundError as e:
    sys.exit(
        f"benchmarks: {e.name} is not installed. Run `uv run --all-groups python -m benchmarks`."
    )

if __name__ == "__main__":
    sys.exit(main())
