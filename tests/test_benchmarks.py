"""The benchmark as a program, on the smallest run that it has."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from tests.programs import run

if TYPE_CHECKING:
    from pathlib import Path


def test_a_missing_dependency_group_is_one_plain_line() -> None:
    without = "import runpy, sys; sys.modules['psutil'] = None; "
    program = run("-c", without + "runpy.run_module('benchmarks', run_name='__main__')")
    assert program.wait() == 1
    advice = "Run `uv run --all-groups python -m benchmarks`."
    assert program.errors == [f"benchmarks: psutil is not installed. {advice}"]


def test_measures_and_writes(tmp_path: Path) -> None:
    sizes = ("--sizes", "5", "--finished", "10", "--calls", "64", "--rounds", "1")
    begin = time.monotonic()
    measured = run("-m", "benchmarks", *sizes, "--output", tmp_path)
    took = time.monotonic() - begin
    assert (measured.wait(), measured.errors) == (0, [])
    assert measured.printed("ms per level: median (least-greatest)")
    results = json.loads((tmp_path / "results.json").read_text())
    assert [(result["contender"], result["n"]) for result in results["recursion"]] == [
        ("devserver, as it is", 5),
        ("devserver, watched", 5),
        ("devserver, plain SDK", 5),
    ]
    # A level is six requests, seven with the plain SDK, and no run takes longer than the program.
    assert all(0.1 < result["ms_per_level"] < took * 1000 / 5 for result in results["recursion"])
    assert {result["at_once"] for result in results["small calls"]} == {1, 8, 64}
    assert len(results["small calls"]) == 9
    assert len(results["recovery"]) == 3
    assert all(0 < result["seconds"] < took for result in results["recovery"])
    assert [result["finished"] for result in results["growth"]] == [10]
    assert (tmp_path / "levels.svg").read_bytes().startswith(b"<?xml")
