"""Boxes that other nodes found or a user drew, in the host's form, as the boxes of concepts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from . import choosing, places
from .boxes import Box

NODE = "Concepts From Boxes"
AS_GIVEN = "as given"
ORDERS = (AS_GIVEN, choosing.BEST_SCORE, choosing.LARGEST, choosing.LEFT_TO_RIGHT)
SIDES = ("x", "y", "width", "height")
MOST_OVERLAP = choosing.MOST_OVERLAP


def boxes(given: Any, pictures: torch.Tensor, names: Sequence[str], order: str = AS_GIVEN, first: int = 1) -> places.Boxes:
    """Concepts on pictures [B, H, W, 3], one a name, at the first boxes of an ``order``.

    given: a box of the host (a dict of x, y, width and height in pixels, and perhaps score and label), a list of them, the same
    on every picture, or a list of lists, one a picture. names: of the concepts; none for one a box, called by its label or its
    number, counted from ``first``. order: one of ORDERS. Raises ValueError where boxes do not fit.
    """
    height, width = pictures.shape[1:3]
    rows = _rows(given, len(pictures))
    found: list[list[Box]] = []
    labels: dict[int, str] = {}
    for number, row in enumerate(rows, 1):
        parsed = [_box(one, width, height, f"box {place} of picture {number}") for place, one in enumerate(row, 1)]
        labels |= {id(box): _label(one) for box, one in zip(parsed, row, strict=True)}
        found.append(parsed if order == AS_GIVEN else choosing.ordered(parsed, order))
    counts = [len(row) for row in found]
    needed = len(names) or counts[0]
    if not needed or (not names and len(set(counts)) > 1):
        said = ", ".join(map(str, counts))
        raise ValueError(
            f"{NODE}: the pictures have {said} boxes, but without `phrases` each needs as many as the others, at least 1. Write "
            "one phrase a concept, raise what limits the boxes, or see why the node before it found none."
        )
    for number, count in enumerate(counts, 1):
        if count < needed:
            raise ValueError(
                f"{NODE}: picture {number} has {count} box{'es' * (count != 1)}, but {needed} phrases need {needed}. Write one "
                "phrase a box, or give more boxes."
            )
    names = tuple(names) or tuple(labels[id(box)] or f"concept {first + place}" for place, box in enumerate(found[0]))
    chosen = tuple(tuple(row[:needed]) for row in found)
    for number, picked in enumerate(chosen, 1):
        check_distinct(names, picked, f"picture {number}")
    return places.Boxes(names, pictures, chosen, tuple((tuple(row),) * needed for row in found))


def check_distinct(names: Sequence[str], chosen: Sequence[Box | None], picture: str) -> None:
    """Raise if two of the K concepts of one picture have one place."""
    placed = [(name, box) for name, box in zip(names, chosen, strict=True) if box is not None]
    for number, (name, box) in enumerate(placed):
        for other_name, other in placed[:number]:
            if box.overlap(other) > MOST_OVERLAP:
                raise ValueError(
                    f"{NODE}: the boxes of `{other_name}` and `{name}` are at one and the same place in {picture} (they overlap "
                    f"by {box.overlap(other):.2f}), but every concept needs a place of its own. Remove one, or choose another "
                    "`order`."
                )


def _rows(given: Any, pictures: int) -> list[list]:
    """For each picture its boxes as they were given."""
    given = [given] if isinstance(given, dict) else given
    rows = [given] if isinstance(given, list) and all(isinstance(one, dict) for one in given) else given
    if not isinstance(rows, list) or not all(isinstance(row, list) and all(isinstance(one, dict) for one in row) for row in rows):
        raise ValueError(
            f"{NODE}: `bounding_boxes` is no box, but needs one, a list, or a list for each picture, of x, y, width and height. "
            "Connect a node that gives BOUNDING_BOX, such as Bounding Box, RT-DETR or SAM3 Detect."
        )
    if len(rows) not in (1, pictures):
        raise ValueError(
            f"{NODE}: `bounding_boxes` has boxes of {len(rows)} pictures, but `image` has {pictures}. Connect the pictures that "
            "the boxes were found on."
        )
    return [rows[number % len(rows)] for number in range(pictures)]


def _box(given: dict, width: int, height: int, name: str) -> Box:
    """A box of the host as a `Box`, clipped to its picture. name: begins errors."""
    numbers = [float(one) for one in map(given.get, SIDES) if isinstance(one, (int, float)) and math.isfinite(one)]
    if len(numbers) < len(SIDES):
        raise ValueError(f"{NODE}: {name} is {str(given)[:100]}, but needs numbers x, y, width and height, in pixels.")
    left, top, wide, high = numbers
    score = given.get("score")
    box = Box(left, top, left + wide, top + high, float(score) if isinstance(score, (int, float)) else 1.0)
    clipped = box.clipped(width, height)
    if clipped.area <= 0:
        raise ValueError(
            f"{NODE}: {name} (x {left:g}, y {top:g}, width {wide:g}, height {high:g}) covers nothing of the picture, which is "
            f"{width}x{height}. Give boxes in pixels of `image`."
        )
    return clipped


def _label(given: dict) -> str:
    """What a box says it holds, or nothing."""
    said = given.get("label")
    return " ".join(said.split()) if isinstance(said, str) else ""
