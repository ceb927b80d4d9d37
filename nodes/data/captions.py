"""Texts that stand beside pictures."""

from __future__ import annotations

import codecs
from pathlib import Path

from .pictures import Damaged

SPLIT = "<|split|>"
"""Stands between the captions of a set in one text (JeDi, supplement 6)."""
MOST_TEXT = 2**16
"""Bytes of a text that are read."""


def encoding(start: bytes) -> str:
    """Of a text that begins with these bytes: UTF-16 where its mark stands there, else UTF-8, with its mark or without."""
    return "utf-16" if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"


def text(data: bytes) -> str:
    """A caption from a file's bytes, on one line. Raises Damaged where they are neither UTF-8 nor marked as UTF-16."""
    decoder = codecs.getincrementaldecoder(encoding(data))()
    try:
        return line(decoder.decode(data[:MOST_TEXT], final=len(data) < MOST_TEXT))  # a letter may be cut in two at the end
    except UnicodeError as problem:
        raise Damaged(f"its text cannot be read: {problem}. It must be UTF-8") from problem


def line(said: str) -> str:
    """A text on one line. Raises Damaged where it holds NUL, as other encodings do, or bytes that were not decoded."""
    if "\0" in said or any("\ud800" <= sign <= "\udfff" for sign in said):
        raise Damaged("its text cannot be read: it must be UTF-8")
    return " ".join(said.split())


def place(picture: Path) -> Path | None:
    """The file with a picture's caption: the `.txt` of its name, or `<name>.caption.txt`; None where there is none."""
    places = (picture.with_suffix(".txt"), picture.with_suffix(".caption.txt"))
    return next((path for path in places if path.is_file()), None)


def beside(picture: Path) -> str:
    """The caption in that file; "" where there is none. Raises Damaged or OSError where it cannot be read."""
    path = place(picture)
    return read(path) if path else ""


def read(path: Path) -> str:
    """The caption in a file. Raises Damaged or OSError where it cannot be read."""
    with open(path, "rb") as file:
        return text(file.read(MOST_TEXT))


def split(joined: str) -> list[str]:
    """The captions of a set from one text."""
    return [one.strip() for one in joined.split(SPLIT)]
