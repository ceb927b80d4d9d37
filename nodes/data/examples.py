"""What every source gives: a set of pictures of one subject, each with its caption."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL import Image


@dataclass(frozen=True, eq=False)
class PictureSet:
    """Pictures of one subject, RGB and upright, of any sizes, with as many captions ("" where none is known).

    name: where it came from, of its own in its source. about: what else is known, such as subject, scores and style, as JSON
    has it. Raises ValueError where captions are not as many as pictures, or there is no picture.
    """

    name: str
    pictures: tuple[Image.Image, ...]
    captions: tuple[str, ...]
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        if not self.pictures or len(self.pictures) != len(self.captions):
            raise ValueError(
                f"Data: the set {self.name} has {len(self.pictures)} pictures and {len(self.captions)} captions, but needs one "
                "caption a picture, and a picture. Give as many of both."
            )

    def __len__(self) -> int:
        return len(self.pictures)
