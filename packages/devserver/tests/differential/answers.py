"""The real server's recorded answers: one file a sequence, one line a step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.differential.play import Step

FOLDER = Path(__file__).with_name("recorded")
NAMES = sorted(path.stem for path in FOLDER.glob("*.jsonl"))


def read(name: str) -> tuple[list[Step], list[Any]]:
    """Read the steps of a recorded sequence, and the real server's answer to each."""
    text = (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8")
    pairs = [json.loads(line) for line in text.splitlines()]
    return [step for step, _ in pairs], [answer for _, answer in pairs]


def write(name: str, steps: list[Step], answers: list[Any]) -> None:
    """Record a sequence and the real server's answers."""
    lines = [json.dumps([s, a], sort_keys=True) for s, a in zip(steps, answers, strict=True)]
    (FOLDER / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
