"""The benchmark as a program, on the smallest run that it has."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from cluster import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def test_measures_and_writes(tmp_path: Path) -> None:
    command = ["-m", "benchmarks", "--sizes", "5", "20", "--finished", "10", "--rounds", "1"]
    command += ["--output"]
    run = subprocess.run(
        [sys.executable, *command, tmp_path], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert "ms a level: median (least-greatest)" in run.stdout
    results = json.loads((tmp_path / "results.json").read_text())
    assert {(result["contender"], result["n"]) for result in results["recursion"]} == {
        (contender, n)
        for contender in ("devserver, as it is", "devserver, watched", "devserver, plain SDK")
        for n in (5, 20)
    }
    assert all(result["ms_per_level"] > 0 for result in results["recursion"])
    assert {result["at_once"] for result in results["small calls"]} == {1, 8, 64}
    assert len(results["small calls"]) == 9
    assert all(result["seconds"] > 0 for result in results["recovery"])
    assert [result["finished"] for result in results["growth"]] == [10]
    assert (tmp_path / "levels.svg").read_bytes().startswith(b"<?xml")
