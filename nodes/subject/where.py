"""Where subjects go: boxes in shares of the picture, and the fifth channel of the UNet's input that is 0 inside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

AREAS = (0.05, 0.7)
"""Shares of the picture that a box may take by the rules of the training data (appendix B.1)."""
SIDES = (0.3, 3.0)
"""And its width over its height, in pixels."""
COVERED = 0.8
"""Overlap over union above which two boxes are one place to those rules."""

TRIES = 200
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Anywhere:
    """A place that a seed chooses, once the picture's shape and the other places are known."""

    seed: int


def placed(places: Sequence[Box | Anywhere], aspect: float) -> tuple[Box, ...]:
    """A box for each place, checked. aspect: of the picture, width over height.

    Of the boxes that a seed draws in a row, the first that covers no earlier box counts, else the one that covers least.
    """
    given = [place for place in places if not isinstance(place, Anywhere)]
    check(given)
    boxes: list[Box] = []
    for number, place in enumerate(places):
        if not isinstance(place, Anywhere):
            boxes.append(place)
            continue
        others = [*boxes, *(other for other in places[number:] if not isinstance(other, Anywhere))]
        generator = torch.Generator().manual_seed(place.seed)
        drawn = (anywhere(generator, aspect) for _ in range(TRIES))
        covered, box = 2.0, boxes[-1] if boxes else (0.0, 0.0, 1.0, 1.0)
        for one in drawn:
            most = max((overlap(one, other) for other in others), default=0.0)
            if most < covered:
                covered, box = most, one
            if not most:
                break
        boxes.append(box)
    return tuple(boxes)


def check(boxes: Sequence[Box]) -> None:
    """Raise ValueError for a box that is empty or outside of the picture, or covers another one."""
    for number, box in enumerate(boxes, 1):
        if wrong := problem(box):
            raise ValueError(f"Apply Subjects: the box of subject {number} {wrong} of its Subject.")
        for other, earlier in enumerate(boxes[: number - 1], 1):
            if overlap(box, earlier) > COVERED:
                raise ValueError(
                    f"Apply Subjects: the boxes of subjects {other} and {number} cover each other. Move one of them: they may "
                    f"share up to {COVERED:.0%} of what both take."
                )


def problem(box: Box) -> str | None:
    """Why a box cannot be, as the middle of a sentence; None if it can."""
    left, top, right, bottom = box
    if 0 <= left < right <= 1 and 0 <= top < bottom <= 1:
        return None
    return (
        f"goes from {left:g}, {top:g} to {right:g}, {bottom:g}, but needs left < right and top < bottom in 0 to 1, as shares of "
        "the picture. Change `x`, `y`, `width` or `height`"
    )


def overlap(one: Box, two: Box) -> float:
    """Intersection over union of two boxes, xyxy."""
    width, height = (min(one[i + 2], two[i + 2]) - max(one[i], two[i]) for i in (0, 1))
    both = max(width, 0.0) * max(height, 0.0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, two))
    return both / (areas - both) if areas > both else 0.0


def channel(boxes: Sequence[Box], height: int, width: int) -> torch.Tensor:
    """The location channel [1, 1, h, w] of a latent picture: 0 inside any box, 1 outside. A cell counts by its middle.

    A box that no cell's middle is in takes the one cell that its own middle is in.
    """
    outside = torch.ones(height, width)
    rows, columns = (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width
    for left, top, right, bottom in boxes:
        inside = ((rows >= top) & (rows < bottom))[:, None] & ((columns >= left) & (columns < right))
        if not inside.any():
            inside[min(int((top + bottom) / 2 * height), height - 1), min(int((left + right) / 2 * width), width - 1)] = True
        outside[inside] = 0
    return outside[None, None]


def anywhere(generator: torch.Generator, aspect: float = 1.0) -> Box:
    """A box at random as the training data have them: its area, then its sides, then its place. aspect: width over height."""
    area, side, x, y = torch.rand(4, generator=generator).tolist()
    area = AREAS[0] + area * (AREAS[1] - AREAS[0])
    # The widths that fit: width = sqrt(area * ratio / aspect) and height = area / width, both at most 1.
    least, most = max(SIDES[0], area * aspect), min(SIDES[1], aspect / area)
    ratio = least * (most / least) ** side
    width = (area * ratio / aspect) ** 0.5
    height = area / width
    left, top = x * (1 - width), y * (1 - height)
    return left, top, min(left + width, 1.0), min(top + height, 1.0)
