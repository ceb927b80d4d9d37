"""Files of a source: which there are, that they lie where the source does, and their bytes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from .pictures import Damaged

MOST_BYTES = 2**28
"""Of a picture's file."""
COMMIT = re.compile(r"[0-9a-f]{40}")
"""Names of the folders in a Hugging Face repository's `snapshots`."""


def walk(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Each folder of a tree with the names of its files, both in the order of their names; hidden ones are passed over.

    Links to folders are not followed, but named among the files.
    """
    for folder, below, names in os.walk(root):
        links = [name for name in below if os.path.islink(os.path.join(folder, name))]
        below[:] = sorted(name for name in below if not name.startswith(".") and name not in links)
        yield Path(folder), sorted(name for name in (*names, *links) if not name.startswith("."))


def named(source: Path, suffixes: tuple[str, ...]) -> list[str]:
    """The files of a tree with one of these suffixes, as paths below it, in their order; of a file its own name."""
    if source.is_file():
        return [source.name]
    return [
        (folder / name).relative_to(source).as_posix()
        for folder, names in walk(source)
        for name in names
        if name.lower().endswith(suffixes)
    ]


def root(source: Path) -> Path:
    """The folder that `named` counts from."""
    return source.parent if source.is_file() else source


def check_inside(source: Path, path: Path) -> None:
    """Raises Damaged where a file of a source is a link that leads out of it, or to a folder.

    Let through are a source that is itself a link, which its user named, and links of a Hugging Face snapshot to its blobs.
    """
    if path == source or not os.path.islink(path):
        return
    target = Path(os.path.realpath(path))
    if path.is_dir() or not (target.is_relative_to(root(source).resolve()) or _is_blob(path, target)):
        raise Damaged("it is a link to a folder, or out of the source's folder")


def _is_blob(link: Path, target: Path) -> bool:
    """Whether a link is as Hugging Face's cache has it: `<repo>/snapshots/<commit>/…` to `<repo>/blobs/<name>`."""
    repository, place = target.parent.parent, link.parent.resolve()
    if target.parent.name != "blobs" or not place.is_relative_to(repository / "snapshots"):
        return False
    below = place.relative_to(repository / "snapshots").parts
    return bool(below and COMMIT.fullmatch(below[0]))


def read(path: Path | str, start: int = 0, length: int = -1) -> bytes:
    """Bytes of a file; length -1 is all of them. Raises Damaged where they are not there, or too many."""
    try:
        with open(path, "rb") as file:
            file.seek(start)
            data = file.read(length if length >= 0 else MOST_BYTES + 1)
    except OSError as problem:
        raise Damaged(f"it cannot be read: {problem.strerror or problem}") from problem
    if len(data) > MOST_BYTES:
        raise Damaged(f"it has more than {MOST_BYTES} bytes")
    if length >= 0 and len(data) < length:
        raise Damaged(f"its file ends after {len(data)} of {length} bytes")
    return data
