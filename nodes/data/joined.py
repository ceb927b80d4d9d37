"""Sets of two subjects, made by joining two sets (JeDi, section 8: a multi-subject data set by combining sets)."""

from __future__ import annotations

import random
from typing import Any

from PIL import Image

from .examples import PictureSet
from .pictures import Damaged
from .sources import Entry, Source

BICUBIC = Image.Resampling.BICUBIC
KIND = "joined"
AND = " and "
"""Stands between the captions of two subjects."""
TRIES = 8
"""How many partners are tried for a set."""


class Joined(Source):
    """Each set of a source with another one of the same part: pictures side by side, captions joined by "and".

    A picture is as wide as both, so that neither subject is cut, and as high as the lower one: train on them with sizes for their
    aspect (`buckets`), since a square crop from the middle would hold half of each. A set is as long as the shorter one.
    """

    kind = KIND

    def __init__(self, of: Source):
        super().__init__(of.path, of.most, of.least_side)
        self.of = of
        self._skipped = of._skipped
        self._listed: tuple[str, list[Entry]] | None = None

    @property
    def name(self) -> str:
        return f"{KIND}:{self.of.name}"

    def parts(self):
        return self.of.parts()

    def fingerprint(self) -> str:
        return self.of.fingerprint()

    def entries(self, part: str) -> list[Entry]:
        return [Entry(entry.name, (part, number)) for number, entry in enumerate(self.members(part))]

    def members(self, part: str) -> list[Entry]:
        """The sets of a part of the source; the last part's are kept."""
        if self._listed is None or self._listed[0] != part:
            self._listed = part, self.of.entries(part)
        return self._listed[1]

    def read(self, entry: Entry, draw: random.Random | None = None) -> PictureSet:
        part, number = entry.at
        members = self.members(part)
        if len(members) < 2:
            raise Damaged("there is no second set to join it with")
        first = self.of.read(members[number], draw)
        for attempt in range(1, min(TRIES, len(members) - 1) + 1):
            step = draw.randrange(1, len(members)) if draw else attempt
            if second := self.of.take(members[(number + step) % len(members)], draw):
                return joined(first, second)
        raise Damaged("no second set to join it with can be used")


def joined(first: PictureSet, second: PictureSet) -> PictureSet:
    """Two sets as one: pictures side by side, the first one's left, at the height of the lower one of each two."""
    both = list(zip(first.pictures, second.pictures, strict=False))
    said = zip(first.captions, second.captions, strict=False)
    about: dict[str, Any] = {"joined": [dict(first.about), dict(second.about)]} if first.about or second.about else {}
    name = f"{first.name} + {second.name}"
    return PictureSet(name, tuple(beside(*pair) for pair in both), tuple(AND.join(filter(None, pair)) for pair in said), about)


def beside(left: Image.Image, right: Image.Image) -> Image.Image:
    """Two pictures side by side, at the height of the lower one."""
    height = min(left.height, right.height)
    sized = [one if one.height == height else one.resize((_width(one, height), height), BICUBIC) for one in (left, right)]
    wide = Image.new("RGB", (sized[0].width + sized[1].width, height))
    wide.paste(sized[0], (0, 0))
    wide.paste(sized[1], (sized[0].width, 0))
    return wide


def _width(picture: Image.Image, height: int) -> int:
    return max(1, round(picture.width * height / picture.height))
