"""Texts that stand beside pictures."""

from __future__ import annotations

from pathlib import Path

SPLIT = "<|split|>"
"""Stands between the captions of a set in one text (JeDi, supplement 6)."""
MOST_TEXT = 2**16
"""Bytes of a text that are read."""


def text(data: bytes) -> str:
    """A caption from a file's bytes, on one line."""
    return " ".join(data[:MOST_TEXT].decode("utf-8", errors="replace").split())


def place(picture: Path) -> Path | None:
    """The file with a picture's caption: the `.txt` of its name, or `<name>.caption.txt`; None where there is none."""
    places = (picture.with_suffix(".txt"), picture.with_suffix(".caption.txt"))
    return next((path for path in places if path.is_file()), None)


def beside(picture: Path) -> str:
    """The caption in that file; "" where there is none."""
    path = place(picture)
    return read(path) if path else ""


def read(path: Path) -> str:
    """The caption in a file."""
    with open(path, "rb") as file:
        return text(file.read(MOST_TEXT))


def split(joined: str) -> list[str]:
    """The captions of a set from one text."""
    return [one.strip() for one in joined.split(SPLIT)]
