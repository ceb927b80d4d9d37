"""JeDi's own form of a set (supplement 6): a file with its square pictures one below the other, a text with its captions."""

from __future__ import annotations

from PIL import Image

from . import captions
from .pictures import Damaged


def cut(picture: Image.Image, text: str) -> list[tuple[Image.Image, str]]:
    """Pictures and captions of a set. Raises Damaged where they are not squares, or not as many as captions."""
    side, count = picture.width, picture.height // picture.width
    said = captions.split(text)
    if not count or picture.height != side * count:
        raise Damaged(f"its height is no multiple of its width: {picture.width} x {picture.height} pixels")
    if len(said) != count:
        raise Damaged(f"it has other than one caption a picture: {len(said)} captions, {count} pictures")
    return [(picture.crop((0, side * row, side, side * (row + 1))), one) for row, one in enumerate(said)]
