"""Sizes to train at: a square, or several of one area, and pictures cut to them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random

from PIL import Image

Size = tuple[int, int]
"""Width and height, in pixels."""


@dataclass(frozen=True, eq=False)
class Cut:
    """A picture brought to a size. own: what it was before. corner: left and top of the cut, on the picture as it was resized.

    Stable Diffusion XL is told all three.
    """

    picture: Image.Image
    own: Size
    corner: Size


def sizes(side: int, step: int = 64, longest: float = 2.0) -> list[Size]:
    """Sizes of at most side² pixels, multiples of ``step``, no side more than ``longest`` times the other; the square is one.

    Of each width the highest, and of each height the widest. Raises ValueError where ``side`` is no multiple of ``step``.
    """
    if side < step or side % step or longest < 1:
        raise ValueError(
            f"Data: sizes around {side} x {side} in steps of {step}, up to {longest} to 1, were asked for. Give a side that is a "
            "multiple of the step, and an aspect of at least 1."
        )
    found = set()
    for width in range(side, math.isqrt(int(side * side * longest)) + 1, step):
        height = side * side // width // step * step
        if height and width <= longest * height:
            found |= {(width, height), (height, width)}
    return sorted(found)


def nearest(pictures: Iterable[Size], among: Sequence[Size]) -> Size:
    """The size, of ``among``, that a set is trained at: whose aspect is nearest to the geometric mean of its pictures'."""
    aspects = [math.log(width / height) for width, height in pictures]
    mean = sum(aspects) / len(aspects)
    return min(among, key=lambda size: (abs(math.log(size[0] / size[1]) - mean), -size[0] * size[1], size))


def cut(picture: Image.Image, size: Size, draw: Random | None = None) -> Cut:
    """A picture at a size, its aspect kept: what sticks out is cut off, on both sides alike or where ``draw`` says."""
    (width, height), (own_width, own_height) = size, picture.size
    scale = max(width / own_width, height / own_height)
    inner = min(own_width, width / scale), min(own_height, height / scale)
    shares = [draw.random() if draw else 0.5 for _ in range(2)]
    left, top = (share * (own - kept) for share, own, kept in zip(shares, picture.size, inner, strict=True))
    box = (left, top, left + inner[0], top + inner[1])
    shown = picture.resize(size, Image.Resampling.LANCZOS, box=box) if (*size, *box[:2]) != (*picture.size, 0, 0) else picture
    return Cut(shown, picture.size, (round(left * scale), round(top * scale)))
