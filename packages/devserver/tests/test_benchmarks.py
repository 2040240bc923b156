"""The benchmark as a program, on the smallest run that it has."""

from __future__ import annotations

import re
from pathlib import Path

from tests.programs import run

PACKAGE = Path(__file__).parents[1]


def test_measures_and_prints_tables() -> None:
    measured = run("-m", "benchmarks", "--quick", "--rounds", "1", cwd=PACKAGE)
    assert measured.wait() == 0, measured.errors
    tables = [line for line in measured.output if line]
    assert [row.split(" | ")[0] for row in tables if "---" not in row] == [
        "| milliseconds a level",
        "| devserver, plain SDK",
        "| devserver, resonate_transport",
        "| small calls, and a kill",
        "| devserver, plain SDK",
        "| devserver, resonate_transport",
        "| devserver's finished promises",
        "| 10",
    ]
    values = re.findall(r"([\d.e+]+) \(\1 to \1\)", "\n".join(tables))
    assert len(values) == 2 + 8 + 3
    assert all(float(value) > 0 for value in values)
