"""An instance at a random place of an empty picture (line 20 of algorithm 1), and what is decided for its set."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from . import chance
from .grouping import Instance, InstanceSet

EMPTY = 0.5
"""Grey of what is to be painted."""


@dataclass(frozen=True, eq=False)
class Pasted:
    """An instance in its picture. picture: [H, W, 3]. mask: [H, W], 1 where it is to be painted. scene: its prompt.

    style: the instruction that its set is stylised by, or "". seed: for its noise.
    """

    picture: torch.Tensor
    mask: torch.Tensor
    scene: str
    style: str
    seed: int


@dataclass(frozen=True)
class Canvas:
    """Sizes in pixels; smallest and largest: shares of the shorter side that an instance's longer side has."""

    width: int
    height: int
    smallest: float = 0.4
    largest: float = 0.7


def paste(instance: Instance, canvas: Canvas, size: float, x: float, y: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Picture [H, W, 3], grey around the instance, and mask [H, W], 1 where it is grey.

    size: from smallest (0) to largest (1), but never larger than it was drawn. x, y: from the left or top (0) to the right or
    bottom (1) of where it fits whole.
    """
    height, width = instance.mask.shape
    side = (canvas.smallest + size * (canvas.largest - canvas.smallest)) * min(canvas.width, canvas.height)
    scale = min(1.0, side / max(height, width))
    shape = max(1, round(height * scale)), max(1, round(width * scale))
    layers = torch.cat((instance.picture.movedim(-1, 0), instance.mask[None]))[None]
    if shape != (height, width):
        layers = F.interpolate(layers, shape, mode="bilinear", antialias=True).clamp(0, 1)
    shown, seen = layers[0, :3].movedim(0, -1), layers[0, 3]
    top, left = round(y * (canvas.height - shape[0])), round(x * (canvas.width - shape[1]))
    picture = torch.full((canvas.height, canvas.width, 3), EMPTY)
    mask = torch.ones(canvas.height, canvas.width)
    part = slice(top, top + shape[0]), slice(left, left + shape[1])
    picture[part] = torch.lerp(picture[part], shown, seen[..., None])
    mask[part] = 1 - seen
    return picture, mask


def pasted(
    sets: tuple[InstanceSet, ...], scenes: tuple[str, ...], styles: tuple[str, ...], stylised: float, canvas: Canvas, seed: int
) -> list[Pasted]:
    """Every instance of every set in a picture of its own, set by set; scenes are given out in turn.

    stylised: share of sets that get one of ``styles``, the same for all their pictures.
    """
    made: list[Pasted] = []
    for number, one in enumerate(sets):
        has_style = styles and chance.share(seed, "stylised", number) < stylised
        style = chance.one_of(styles, seed, "style", number) if has_style else ""
        for place, instance in enumerate(one.instances):
            at = (chance.share(seed, what, number, place) for what in ("size", "x", "y"))
            scene = scenes[len(made) % len(scenes)]
            noise = chance.number(seed, "noise", number, place)
            made.append(Pasted(*paste(instance, canvas, *at), scene, style, noise))
    return made
