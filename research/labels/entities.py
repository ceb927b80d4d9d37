"""What is known of a labelled picture, and the JSON that stands for it in a shard."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

import torch

from . import rle


@dataclass(frozen=True, eq=False)
class Entity:
    """A subject in a picture. name: its class. box: left, top, right, bottom in shares of the picture's sides.

    mask: [H, W], bool. score: the detector's, 0 to 1.
    """

    name: str
    box: tuple[float, float, float, float]
    mask: torch.Tensor
    score: float


def read(text: bytes | str) -> tuple[int, int, str, tuple[Entity, ...]]:
    """Height and width of the picture, where it came from, and its entities. Raises ValueError with what is wrong."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise ValueError(f"the entities are no JSON: {problem}") from problem
    try:
        height, width, source, listed = said["height"], said["width"], said["source"], said["entities"]
        sizes = all(type(side) is int and 0 < side < 2**16 for side in (height, width))
    except (KeyError, TypeError) as problem:
        raise ValueError("the entities lack height, width, source or entities") from problem
    if not sizes or not isinstance(source, str) or not isinstance(listed, list):
        raise ValueError("the entities' height, width, source or entities are of another kind")
    return height, width, source, tuple(_entity(one, height, width) for one in listed)


def _entity(said, height: int, width: int) -> Entity:
    if not isinstance(said, dict) or not isinstance(said.get("class"), str) or not said["class"].strip():
        raise ValueError("an entity has no class")
    box, score = said.get("box"), said.get("score")
    if not isinstance(box, list) or len(box) != 4 or not all(map(_share, box)) or box[0] >= box[2] or box[1] >= box[3]:
        raise ValueError(f"the box of `{said['class']}` is {str(box)[:60]}, but needs left, top, right, bottom from 0 to 1")
    if not _share(score):
        raise ValueError(f"the score of `{said['class']}` is {str(score)[:40]}, but needs a number from 0 to 1")
    left, top, right, bottom = map(float, box)
    return Entity(said["class"], (left, top, right, bottom), rle.decode(said.get("mask"), height, width), float(score))


def _share(value) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and 0 <= value <= 1
