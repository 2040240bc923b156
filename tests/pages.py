"""Reads the Markdown pages: their code blocks, links and headings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.programs import ROOT

if TYPE_CHECKING:
    from pathlib import Path

FOLDERS = (".github", "docs", "packages")
PAGES = sorted(ROOT.glob("*.md")) + sorted(p for it in FOLDERS for p in (ROOT / it).rglob("*.md"))


@dataclass(frozen=True)
class Block:
    """A block of code.

    Args:
        page: the page that contains it.
        language: `shell` for a command, `python`, and so on; empty for the output of a program.
        text: its content.
        above: the last line of text before it.
    """

    page: Path
    language: str
    text: str
    above: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}: {self.text.splitlines()[0]}"


def blocks(page: Path, language: str | None = None) -> list[Block]:
    """Return the code blocks of a page, in their order."""
    found, above, lines = [], "", iter(page.read_text(encoding="utf-8").splitlines())
    for line in lines:
        if line.startswith("```"):
            inside = []
            while (inner := next(lines)) != "```":
                inside.append(inner)
            found.append(Block(page, line.removeprefix("```"), "\n".join(inside), above))
        elif line:
            above = line
    return [block for block in found if language is None or block.language == language]


def commands(*pages: Path) -> list[str]:
    """Return the commands that pages show."""
    return [block.text for page in pages for block in blocks(page, "shell")]


def block_below(command: str, page: Path) -> Block:
    """Return the block with the output that a page shows below a command."""
    found = blocks(page)
    typed = next(i for i, block in enumerate(found) if block.text == command)
    return next(block for block in found[typed:] if block.language == "")


def output_of(command: str, page: Path) -> str:
    """Return the output that a page shows below a command."""
    return block_below(command, page).text


def links(page: Path) -> list[str]:
    """Return the targets of a page's links and pictures that are inside the repository."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    return [target for target in targets if "://" not in target]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
