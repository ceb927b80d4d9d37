"""Folders of pictures: sets in folders of their own, renders of one thing, sets stacked in one file, single pictures."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable
from pathlib import Path

from . import captions, files
from .examples import PictureSet
from .pictures import SUFFIXES, Damaged, decode
from .sources import Entry, Source
from .stacked import cut

CAPTION = "caption.txt"
"""Of all pictures of a folder that have none of their own."""
CAPTIONS = "captions.csv"
"""Beside the folders of renders: two columns without heads, a folder's name and its caption, as Cap3D has them."""


def is_picture(name: str) -> bool:
    """Whether a file is a picture, by its name."""
    return name.lower().endswith(SUFFIXES)


class Folder(Source):
    """What the sources in this module share: one part, whose sets are files under a folder.

    root: that folder. suffixes: of the files.
    """

    suffixes: tuple[str, ...] = SUFFIXES

    def __init__(self, path: Path, most: int | None = None, least_side: int = 0):
        super().__init__(path, most, least_side)
        self.root = files.root(path)
        self._listed: list[Entry] | None = None

    def parts(self) -> list[str]:
        return [""]

    def entries(self, part: str) -> list[Entry]:
        if self._listed is None:
            self._listed = self.listed()
        return self._listed

    def listed(self) -> list[Entry]:
        """All sets, in the order of their names; here one for each picture."""
        return [Entry(name, name) for name in files.named(self.path, self.suffixes)]

    def told(self) -> Iterable[str]:
        return (entry.name for entry in self.entries(""))

    def beside(self, picture: Path) -> str:
        """The caption in the text of a picture's name."""
        place = captions.place(picture)
        return self.text(place) if place else ""

    def text(self, path: Path) -> str:
        """The caption in a file; "", which is counted, where it lies elsewhere or cannot be read."""
        try:
            files.check_inside(self.path, path)
            return captions.read(path)
        except (Damaged, OSError) as problem:
            said = problem if isinstance(problem, Damaged) else Damaged(f"it cannot be read: {problem.strerror}")
            self.skip(path.relative_to(self.root).as_posix(), said)
            return ""

    def bytes_of(self, path: Path) -> bytes:
        """A file's bytes. Raises Damaged where it lies elsewhere or cannot be read."""
        files.check_inside(self.path, path)
        return files.read(path)


class Pictures(Folder):
    """Pictures at any depth, each a set of its own, with the text of its name beside it."""

    kind = "pictures"

    def read(self, entry: Entry, draw: random.Random | None = None) -> PictureSet:
        path = self.root / entry.at
        return PictureSet(entry.name, (self.large_enough(decode(self.bytes_of(path))),), (self.beside(path),))


class Stacked(Folder):
    """Sets at any depth in JeDi's own form: pictures stacked in one file, captions in the text beside it."""

    kind = "stacked"

    def read(self, entry: Entry, draw: random.Random | None = None) -> PictureSet:
        path = self.root / entry.at
        cuts = cut(decode(self.bytes_of(path)), self.beside(path))
        given = [(f"{entry.name}, picture {number}", said, lambda one=one: one) for number, (one, said) in enumerate(cuts, 1)]
        return self.gathered(entry.name, given, draw)


class Sets(Folder):
    """Folders at any depth, the pictures of each a set; a text beside each picture, or `caption.txt` for those without."""

    kind = "sets"

    def __init__(self, path: Path, most: int | None = None, least_side: int = 0):
        if not path.is_dir():
            raise ValueError(f"Data: {path} is no folder, but `{self.kind}:` needs one with a folder for each set. Give that.")
        super().__init__(path, most, least_side)

    def listed(self) -> list[Entry]:
        listed = []
        for folder, names in files.walk(self.root):
            if shown := tuple(name for name in names if is_picture(name)):
                name = folder.relative_to(self.root).as_posix()
                listed.append(Entry(self.root.name if name == "." else name, (name, shown)))
        return listed

    def read(self, entry: Entry, draw: random.Random | None = None) -> PictureSet:
        below, names = entry.at
        folder = self.root / below
        of_all = self.of_all(folder)
        given = [
            (f"{entry.name}/{name}", self.caption(folder / name, of_all), lambda path=folder / name: decode(self.bytes_of(path)))
            for name in names
        ]
        return self.gathered(entry.name, given, draw)

    def of_all(self, folder: Path) -> str:
        """The caption of a folder's pictures that have none of their own."""
        return self.text(folder / CAPTION) if (folder / CAPTION).is_file() else ""

    def caption(self, picture: Path, of_all: str) -> str:
        """The caption of one picture."""
        return self.beside(picture) or of_all


class Views(Sets):
    """Folders at any depth with renders of one thing, which share a caption.

    It stands in `caption.txt`, in a text of the folder's name beside it, or in `captions.csv` of the whole source.
    """

    kind = "views"

    def __init__(self, path: Path, most: int | None = None, least_side: int = 0):
        super().__init__(path, most, least_side)
        self._table: dict[str, str] | None = None

    def of_all(self, folder: Path) -> str:
        beside = folder.with_name(folder.name + ".txt")
        if folder != self.root and not (folder / CAPTION).is_file() and beside.is_file():
            return self.text(beside)
        return super().of_all(folder) or self.table().get(folder.name, "")

    def caption(self, picture: Path, of_all: str) -> str:
        return of_all

    def table(self) -> dict[str, str]:
        """Captions of `captions.csv` by the folders' names."""
        if self._table is None:
            self._table = {}
            path = self.root / CAPTIONS
            if path.is_file():
                try:
                    files.check_inside(self.path, path)
                    self._read_table(path, self._table)
                except (csv.Error, OSError, UnicodeError, Damaged) as problem:
                    self.skip(CAPTIONS, Damaged(f"its table cannot be read: {problem}"))
        return self._table

    def _read_table(self, path: Path, table: dict[str, str]) -> None:
        with open(path, "rb") as begun:
            encoding = captions.encoding(begun.read(2))
        with open(path, encoding=encoding, errors="surrogateescape", newline="") as file:
            rows = csv.reader(file)
            for name, caption, *_ in (row for row in rows if len(row) > 1):
                try:
                    table[name] = captions.line(caption)
                except Damaged as problem:
                    self.skip(f"{CAPTIONS}, line {rows.line_num}", problem)
