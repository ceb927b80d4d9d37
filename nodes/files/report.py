"""What Check Files found, as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

FOUND, MISSING, OTHER_SIZE = "found", "missing", "other size"
"""States of what a graph needs."""


def amount(size: int | None) -> str:
    """Bytes as people read them: 1691134141 -> 1.69 GB."""
    if size is None:
        return "size not known"
    for unit, bytes_of_it in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= bytes_of_it:
            return f"{size / bytes_of_it:.3g} {unit}"
    return f"{size} bytes"


def text(rows: Sequence[Mapping]) -> str:
    """All rows of a check, those that are missing first, with what to do about each."""
    wrong = [row for row in rows if row["state"] != FOUND]
    if not rows:
        return "Check Files: no node of this graph names a file of models or needs a package."
    said = f"{len(wrong)} of {len(rows)} are missing or wrong." if wrong else f"All {len(rows)} are here."
    right = [row for row in rows if row["state"] == FOUND]
    return "\n".join([f"Check Files: {said}", *map(_line, (*wrong, *right))])


def _line(row: Mapping) -> str:
    facts = [row["name"], f"for {', '.join(row['nodes'])}"]
    facts += [amount(row["bytes"])] if row["kind"] == "file" and row["listed"] else []
    facts += [f"licence: {row['licence']}"] if row["licence"] else []
    facts += [row["path"]] if row["path"] else []
    return f"{row['state']}: {'; '.join(facts)}{'. ' if row['remedy'] else ''}{row['remedy']}"
