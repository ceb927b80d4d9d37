"""What all sources share: an order that seed and epoch decide, sets read one at a time, and a count of what was left out."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from .examples import PictureSet
from .pictures import Damaged


@dataclass(frozen=True)
class Entry:
    """A set that was listed and not read. name: of its own in its source. at: where its bytes are, as its source knows them."""

    name: str
    at: Any


class Source:
    """Sets of pictures, listed part by part (a shard, a row group, a whole folder) and read one at a time.

    path: a file or folder. most: pictures of a set that are read, drawn anew each time; None reads all, in their order.
    least_side: of a picture, in pixels; smaller ones are left out. skipped: what was left out, reason -> names.
    """

    kind = ""

    def __init__(self, path: Path, most: int | None = None, least_side: int = 0):
        self.path, self.most, self.least_side = path, most, least_side
        self._skipped: dict[str, dict[str, str]] = {}

    @property
    def name(self) -> str:
        """As it can be given to `open_source`."""
        return f"{self.kind}:{self.path}"

    @property
    def skipped(self) -> dict[str, list[str]]:
        """What could not be used: reason -> the names, each once, with what else is known behind a colon."""
        return {
            reason: [f"{name}: {detail}" if detail else name for name, detail in names.items()]
            for reason, names in self._skipped.items()
        }

    def parts(self) -> Sequence[str]:
        """Names of the parts, in their order."""
        raise NotImplementedError

    def entries(self, part: str) -> list[Entry]:
        """The sets of a part, in their order. What is damaged is counted."""
        raise NotImplementedError

    def read(self, entry: Entry, draw: random.Random | None = None) -> PictureSet:
        """The set of an entry; ``draw`` chooses its pictures. Raises Damaged."""
        raise NotImplementedError

    def fingerprint(self) -> str:
        """Of what is listed, so that a run that goes on can tell whether it is the same."""
        return hashlib.sha256("\n".join(self.told()).encode("utf-8", "surrogateescape")).hexdigest()[:16]

    def told(self) -> Iterable[str]:
        """What it is known by: a line for each part."""
        return self.parts()

    def take(self, entry: Entry, draw: random.Random | None = None) -> PictureSet | None:
        """The set of an entry, or None where it is damaged, which is counted."""
        try:
            return self.read(entry, draw)
        except Damaged as problem:
            self.skip(entry.name, problem)
            return None

    def sets(self, seed: int, epoch: int, rank: int = 0, ranks: int = 1) -> Iterator[PictureSet]:
        """Every set that can be used, once, in the order of seed and epoch; of ``ranks`` processes each gets its own."""
        number = 0
        for part in shuffled(self.parts(), seed, epoch):
            for entry in shuffled(self.entries(part), seed, epoch, part):
                if number % ranks == rank and (taken := self.take(entry, drawing(seed, epoch, entry.name))):
                    yield taken
                number += 1

    def skip(self, name: str, problem: Damaged) -> None:
        """Count what could not be used. The reason is what the message says before a colon."""
        reason, _, detail = str(problem).partition(": ")
        self._skipped.setdefault(reason, {}).setdefault(name, detail)

    def gathered(
        self,
        name: str,
        given: Sequence[tuple[str, str, Callable[[], Image.Image]]],
        draw: random.Random | None,
        about: Mapping[str, Any] | None = None,
    ) -> PictureSet:
        """A set from the names, captions and readers of its pictures: all, or so many as are wanted, that ``draw`` chooses.

        A picture that cannot be used is counted and left out. Raises Damaged where none is left.
        """
        pictures, captions = [], []
        for each, caption, read in given if draw is None or self.most is None else draw.sample(given, len(given)):
            try:
                pictures.append(self.large_enough(read()))
            except Damaged as problem:
                self.skip(each, problem)
                continue
            captions.append(caption)
            if len(pictures) == self.most:
                break
        if not pictures:
            raise Damaged("none of its pictures can be used")
        return PictureSet(name, tuple(pictures), tuple(captions), about or {})

    def large_enough(self, picture: Image.Image) -> Image.Image:
        """The same picture. Raises Damaged where a side is shorter than the least."""
        if min(picture.size) < self.least_side:
            raise Damaged(f"a side is shorter than {self.least_side} pixels")
        return picture


def shuffled(given: Sequence[Any], *seeds: object) -> list[Any]:
    """The same in an order that the seeds decide."""
    return drawing(*seeds).sample(list(given), len(given))


def drawing(*seeds: object) -> random.Random:
    """Random numbers that these seeds decide, on every machine alike."""
    return random.Random("/".join(map(str, seeds)))
