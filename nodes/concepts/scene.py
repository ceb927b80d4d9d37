"""What is known about the concepts of a scene: first their boxes, then their masks."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from . import masks as pipeline
from .boxes import Box


@dataclass(frozen=True)
class Boxes:
    """K concepts on B pictures of one size: their boxes.

    phrases: K. chosen: B rows of K boxes, None where a concept is empty. found: B rows of K lists, every
    box of the concept's phrase, the chosen one among them. width, height: of the pictures, in pixels.
    """

    phrases: tuple[str, ...]
    chosen: tuple[tuple[Box | None, ...], ...]
    found: tuple[tuple[tuple[Box, ...], ...], ...]
    width: int
    height: int

    def join(self, more: Boxes) -> Boxes:
        """The concepts of both, on the same pictures, these first. Raises if they are of other pictures."""
        sizes = [(len(one.chosen), one.width, one.height) for one in (self, more)]
        if sizes[0] != sizes[1]:
            raise ValueError(
                "Find Concepts: `previous` holds concepts of {} pictures of {}x{} pixels, but `image` has {} of {}x{}. "
                "Connect both nodes to the same picture.".format(*sizes[0], *sizes[1])
            )
        return Boxes(
            (*self.phrases, *more.phrases),
            tuple((*a, *b) for a, b in zip(self.chosen, more.chosen)),
            tuple((*a, *b) for a, b in zip(self.found, more.found)),
            self.width,
            self.height,
        )


@dataclass(frozen=True, eq=False)
class Concepts:
    """K concepts on B pictures of one size: their places, for whatever paints them.

    phrases: K names. boxes: B rows of K boxes, None where a concept is empty; a box holds its score.
    masks: [B, K, H, W] on the picture, 0 to 1, disjoint; zero where a concept is empty. feather: standard
    deviation of the blur of the weights, in latent pixels.
    """

    phrases: tuple[str, ...]
    boxes: tuple[tuple[Box | None, ...], ...]
    masks: torch.Tensor
    feather: float

    def weights(self, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(M_i [B, K, h, w], M_BG [B, 1, h, w]) on a latent grid: never negative, and together one at every pixel."""
        pairs = [pipeline.latent_weights(masks, height, width, self.feather) for masks in self.masks]
        own, background = zip(*pairs)
        return torch.stack(own), torch.stack(background)


def place(masks: torch.Tensor, boxes: tuple[Box | None, ...], names: tuple[str, ...], grow: int, overlaps: str, picture: str):
    """Disjoint masks [K, H, W] of one picture, from its raw masks [K, H, W]: the pipeline up to the latent grid.

    Raises ValueError where a concept would lose nearly all of its mask to others.
    """
    grown = pipeline.grow(masks.float().clamp(0, 1), grow)
    empty = torch.tensor([box is None for box in boxes], device=masks.device)
    grown = grown.masked_fill(empty.view(-1, 1, 1), 0)
    for number in (~empty & (grown.sum(dim=(1, 2)) == 0)).nonzero().flatten().tolist():
        raise ValueError(
            f"Concept Masks: the mask of `{names[number]}` in {picture} is black everywhere. Raise `grow`, choose another "
            "instance or segmenter, or use box-shaped masks."
        )
    if overlaps == pipeline.NEAREST_BOX:
        corners = torch.tensor([box.corners if box else (0.0,) * 4 for box in boxes], device=masks.device)
        distance = pipeline.distance_to_boxes(corners, *masks.shape[-2:])
    else:
        distance = torch.tensor([-(box.score if box else 0.0) for box in boxes], device=masks.device).view(-1, 1, 1)
    shared = pipeline.disjoint(grown, distance)
    pipeline.check_shares(grown, shared, list(names), picture)
    return shared


def box_of(mask: torch.Tensor) -> Box | None:
    """The smallest box around what is white (over one half) in a mask [H, W]; None if nothing is."""
    rows, columns = (mask > 0.5).nonzero(as_tuple=True)
    if not len(rows):
        return None
    return Box(columns.min().item(), rows.min().item(), columns.max().item() + 1.0, rows.max().item() + 1.0)
