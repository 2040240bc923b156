"""The real server's flags and units, as docs/beyond-one-machine/ shows them."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pages import blocks
from tests.programs import ROOT

FOLDER = ROOT / "docs" / "beyond-one-machine"
PAGE = FOLDER / "README.md"
# With systemd, the passwords are in a file, because all users can see a program's flags.
PASSWORDS = {"--aio-store-postgres-password", "--aio-poll-auth", "--api-http-auth"}


def serve_flags(text: str) -> set[str]:
    return set(re.findall(r"--(?:aio|api|metrics|system)-[a-z-]+", text))


def compose_flags() -> set[str]:
    return serve_flags((FOLDER / "compose.yaml").read_text())


def test_the_unit_has_the_flags_of_the_compose_file() -> None:
    server, _ = blocks(PAGE, "ini")
    assert serve_flags(server.text) == compose_flags() - PASSWORDS


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    systemd_analyze = shutil.which("systemd-analyze")
    if systemd_analyze is None:
        pytest.skip("needs systemd-analyze")
    server, worker = (block.text for block in blocks(PAGE, "ini"))
    (head, foot) = (server.split("\n\n")[0], server.split("\n\n")[-1])
    units = {"server.service": server, "worker.service": f"{head}\n\n{worker}\n\n{foot}"}
    for name, text in units.items():
        unit = re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={sys.executable}", text)
        (tmp_path / name).write_text(unit)
    paths = [str(tmp_path / name) for name in units]
    checked = subprocess.run(
        [systemd_analyze, "verify", *paths], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_real_server_has_the_flags(resonate: str) -> None:
    usage = subprocess.run(
        [resonate, "serve", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert compose_flags() - serve_flags(usage) == set()
