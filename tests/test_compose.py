"""The real server's flags, as compose.yaml and the page about it have them."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "beyond-one-machine.md"


def serve_flags(text: str) -> set[str]:
    return set(re.findall(r"--(?:aio|api|metrics|system)-[a-z-]+", text))


def compose_flags() -> set[str]:
    return serve_flags((ROOT / "compose.yaml").read_text())


def test_the_page_explains_the_flags_of_the_compose_file() -> None:
    command, rest = PAGE.read_text().split("resonate serve \\\n", 1)[1].split("```", 1)
    table = "\n".join(line for line in rest.splitlines() if line.startswith("| `--"))
    assert serve_flags(command) == serve_flags(table) == compose_flags()


def test_the_real_server_has_them(resonate: str) -> None:
    usage = subprocess.run(
        [resonate, "serve", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert compose_flags() - serve_flags(usage) == set()
