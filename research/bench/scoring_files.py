"""Scores in a file, a line a picture, so that none is computed twice."""

from __future__ import annotations

import json
from pathlib import Path


def kept(file: Path) -> dict[str, dict]:
    """Scores by the name of their case; a last line that was cut off is left out, and cut off the file."""
    if not file.is_file():
        return {}
    found, whole = {}, 0
    with open(file, "rb") as lines:
        for line in lines:
            try:
                said = json.loads(line if line.endswith(b"\n") else b"")
                found[said.pop("case")] = said
            except (ValueError, KeyError, AttributeError):
                break
            whole += len(line)
    with open(file, "r+b") as lines:
        lines.truncate(whole)
    return found


def keep(file: Path, name: str, scores: dict) -> None:
    """Add what was measured of the case of this name."""
    with open(file, "a", encoding="utf-8") as lines:
        lines.write(json.dumps({"case": name, **scores}) + "\n")
