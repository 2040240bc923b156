"""The chaos script, a few of its trials."""

from __future__ import annotations

import subprocess
import sys

from cluster import ROOT


def test_every_kind_of_disturbance_is_survived() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.chaos", "--trials", "5", "--most", "60"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    assert run.stdout.count(": right, ") == 5
    assert "5 of 5 trials as they should be." in run.stdout
