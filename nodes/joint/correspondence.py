"""What a point of one picture of a set corresponds to in the others, by what they attend to in each other (JeDi, figure 5)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from . import settings
from .recording import Taken

ALL = "all"
LEVELS = (ALL, *settings.LEVELS)
MOST = 3
"""Matches in a picture."""
BRIGHTEST = 255
WEAKEST = 0.5
"""Of a picture's strongest match: weaker ones are none."""
APART = 8
"""Two matches are farther apart than this part of a picture."""


@dataclass(frozen=True, eq=False)
class Table:
    """How well every cell of every picture of a set matches every cell of every other one.

    values: uint8, [N, C, N, C], from a cell of a picture to the cells of another, 255 for the best of these; all 0 for a picture
    and itself, and where two pictures do not see each other. shape: height and width of a picture in cells.
    """

    values: torch.Tensor
    shape: tuple[int, int]

    def heat(self, picture: int, x: float, y: float) -> torch.Tensor:
        """Maps [N, h, w] in 0..1 of a point of a ``picture``, from 0, at shares of its width and height."""
        return self.values[picture, cell_of(x, y, self.shape)].unflatten(-1, self.shape).float() / BRIGHTEST

    def matches(self, picture: int, other: int, x: float, y: float) -> list[tuple[float, float]]:
        """The strongest matches (x, y) of a point in another picture, as shares of its width and height, the best first.

        Each is the brightest cell that is not near a better one.
        """
        height, width = self.shape
        heat = self.values[picture, cell_of(x, y, self.shape), other].unflatten(-1, self.shape).clone()
        best, near = int(heat.max()), max(1, round(min(height, width) / APART))
        found: list[tuple[float, float]] = []
        while len(found) < MOST and heat.max() > WEAKEST * best:
            down, across = divmod(int(heat.flatten().argmax()), width)
            found.append(((across + 0.5) / width, (down + 0.5) / height))
            heat[max(0, down - near) : down + near + 1, max(0, across - near) : across + near + 1] = 0
        return found


def cell_of(x: float, y: float, shape: tuple[int, int]) -> int:
    """The cell that a point at shares of a picture's width and height is in."""
    height, width = shape
    return min(height - 1, int(y * height)) * width + min(width - 1, int(x * width))


def table(taken: Taken, number: int, level: str = ALL) -> Table:
    """Of set ``number`` of a run, from 0, at a level or at all that were recorded, on the cells of the finest of these.

    A cell a of a picture and b of another match by what a pays to b, as a share of what it pays to the best cell there, times
    what b pays to a, likewise, where both look. Where one of them looks alone, by that.
    """
    sums = [one for name, one in taken.sums.items() if level in (ALL, name)]
    if not sums:
        raise ValueError(
            f"Show Correspondence: `level` is `{level}`, but the recording has {_listed(taken)}. Choose one of these, or switch "
            f"`{level}` on in Record Correspondence, if the model has coupled attention there."
        )
    shape = max((one.grid.shape for one in sums), key=lambda shape: shape[0] * shape[1])
    paid = torch.stack([_on(one.means(number), one.grid.shape, shape) for one in sums]).sum(dim=0)
    values = torch.zeros(paid.shape, dtype=torch.uint8)
    for a in range(len(paid)):
        for b in range(len(paid)):
            if a != b:
                values[a, :, b] = _matched(paid[a, :, b], paid[b, :, a].T)
    return Table(values, shape)


def _listed(taken: Taken) -> str:
    return ", ".join(f"`{name}`" for name in taken.sums) or "none"


def _matched(there: torch.Tensor, back: torch.Tensor) -> torch.Tensor:
    """What cells of a picture pay to those of another and get back from them, both [C, C], as uint8."""
    both = [_relative(one) for one in (there, back) if not one.isnan().any()]
    if not both:
        return torch.zeros_like(there)
    heat = both[0] if len(both) == 1 else _relative(both[0] * both[1])
    return (heat * BRIGHTEST).round()


def _relative(heat: torch.Tensor) -> torch.Tensor:
    return heat / heat.amax(dim=-1, keepdim=True).clamp(min=torch.finfo(heat.dtype).tiny)


def _on(means: torch.Tensor, own: tuple[int, int], shape: tuple[int, int]) -> torch.Tensor:
    """Attention [N, C, N, C] between cells of a grid as one between those of a finer one, per cell of that."""
    if own == shape:
        return means
    size, count = len(means), shape[0] * shape[1]
    grid = means.movedim(2, 1).flatten(0, 1).unflatten(-1, own).unflatten(1, own)  # [N * N, h, w, h, w]
    fine = torch.stack([_finer(_finer(one.flatten(0, 1), shape).T.unflatten(-1, own), shape).T for one in grid])
    return fine.unflatten(0, (size, size)).movedim(1, 2) * (own[0] * own[1] / count)


def _finer(rows: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """[X, h, w] -> [X, C] on a finer grid."""
    return F.interpolate(rows[:, None], shape, mode="bilinear")[:, 0].flatten(1)
