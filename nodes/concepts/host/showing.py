"""What the pictures on nodes show: base pictures as temporary files, and where concepts are on them.

Each is one JSON text: the host would count an object among a run's results.
"""

from __future__ import annotations

import json

import torch

from ...host import small_pictures
from ..places import Boxes, Concepts
from .labelling import COLOURS


def candidates(boxes: Boxes, first: int, text: str) -> dict[str, list[str]]:
    """For `js/choose.js`: all boxes of the K concepts that Find Concepts looked for, and which it chose.

    first: number that the first of them has on previews, from 1. text: what was chosen by hand.
    """
    found = [[[_rounded(box) for box in concept] for concept in row] for row in boxes.found]
    chosen = [
        [None if box is None else concept.index(box) for concept, box in zip(others, row, strict=True)]
        for others, row in zip(boxes.found, boxes.chosen, strict=True)
    ]
    return _shown("candidates", boxes.pictures, phrases=boxes.phrases, first=first, text=text, found=found, chosen=chosen)


def masks(concepts: Concepts, pictures: torch.Tensor, text: str) -> dict[str, list[str]]:
    """For `js/brush.js`: which concept every pixel of pictures [B, H, W, 3] belongs to. text: the corrections in effect.

    `numbers` are grey pictures: 0 is the background, 1 the first concept.
    """
    share, number = concepts.masks.max(1)
    number = torch.where(share > 0.5, number + 1, 0) / 255
    shown = _saved(number[..., None].expand(-1, -1, -1, 3))
    boxes = [[None if box is None else _rounded(box) for box in row] for row in concepts.boxes]
    return _shown("masks", pictures, phrases=concepts.phrases, numbers=shown, boxes=boxes, text=text)


def _rounded(box) -> list[float]:
    """xyxy in tenths of a pixel, and the score."""
    return [*(round(value, 1) for value in box.corners), round(box.score, 3)]


def _saved(pictures: torch.Tensor) -> list[dict]:
    """Where pictures [B, H, W, 3] are, whole and to the nearest of 256 values: the host cuts off what is behind the point."""
    return small_pictures.save(list(((pictures.float() * 255).round() + 0.25) / 255))


def _shown(name: str, pictures: torch.Tensor, **said) -> dict[str, list[str]]:
    size = {"width": pictures.shape[2], "height": pictures.shape[1]}
    files = _saved(pictures)
    return {name: [json.dumps({"pictures": files, **size, "colours": COLOURS, **said})]}
