"""Drawing what a point of a picture corresponds to: the set's pictures beside each other, with heat maps and marks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from .correspondence import Table

SIDE = 320
"""Longest side of a picture that is drawn, in pixels, about."""
GAP = 8
DIM, STRONGEST = 0.35, 0.85
"""How bright a picture is where it is cold, and how much heat covers it where it is hottest."""
COLD, HOT = (1.0, 0.25, 0.0), (1.0, 0.95, 0.35)
POINT, MATCH = (0.2, 0.9, 1.0), (1.0, 1.0, 1.0)
RADII = (11, 8, 6)
"""Of the rings around a picture's matches, in pixels, the best first."""

Mark = tuple[float, float, int, tuple[float, float, float]]
"""x and y as shares of width and height, the ring's radius, and its colour."""


def drawn(pictures: torch.Tensor, table: Table, chosen: int, x: float, y: float) -> torch.Tensor:
    """A set's pictures [N, H, W, 3] in 0..1 in a row, [1, h, w, 3].

    The ``chosen`` one, from 0, with a mark at the point x, y (shares of its width and height), the others with how well each
    part matches the point, and rings around the strongest matches.
    """
    shown, heats = _sized(pictures), table.heat(chosen, x, y)
    cells = []
    for number, picture in enumerate(shown):
        if number == chosen:
            cells.append(_marked(picture, [(x, y, RADII[0], POINT)]))
        else:
            rings = zip(table.matches(chosen, number, x, y), RADII, strict=False)
            cells.append(_marked(heated(picture, heats[number]), [(*at, radius, MATCH) for at, radius in rings]))
    gap = shown.new_ones(shown.shape[1], GAP, 3)
    return torch.cat([part for cell in cells for part in (cell, gap)][:-1], dim=1)[None]


def heated(picture: torch.Tensor, heat: torch.Tensor) -> torch.Tensor:
    """A picture [H, W, 3] under a heat map [h, w] in 0..1."""
    size = picture.shape[:2]
    heat = F.interpolate(heat[None, None].to(picture), size, mode="bilinear")[0, 0, ..., None]
    colour = torch.lerp(picture.new_tensor(COLD), picture.new_tensor(HOT), heat)
    return torch.lerp(picture * DIM, colour, heat * STRONGEST)


def _sized(pictures: torch.Tensor) -> torch.Tensor:
    """Enlarged by whole pixels, or made smaller."""
    rows, longest = pictures[..., :3].movedim(-1, 1).float(), max(pictures.shape[1:3])
    if longest <= SIDE:
        return pictures[..., :3].float().repeat_interleave(SIDE // longest, 1).repeat_interleave(SIDE // longest, 2)
    size = [max(1, round(length * SIDE / longest)) for length in pictures.shape[1:3]]
    return F.interpolate(rows, size, mode="bilinear", antialias=True).movedim(1, -1).clamp(0, 1)


def _marked(picture: torch.Tensor, marks: Sequence[Mark]) -> torch.Tensor:
    """A picture with rings, each of a dark line beside a bright one so that it shows on anything."""
    height, width = picture.shape[:2]
    down, across = (torch.arange(length) + 0.5 for length in (height, width))
    for x, y, radius, colour in marks:
        away = (torch.hypot(across[None] - x * width, down[:, None] - y * height) - radius).abs()[..., None].to(picture)
        picture = torch.lerp(picture, torch.zeros_like(picture), (3.5 - away).clamp(0, 1))
        picture = torch.lerp(picture, picture.new_tensor(colour).expand_as(picture), (2 - away).clamp(0, 1))
    return picture
