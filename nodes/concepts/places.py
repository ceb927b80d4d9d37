"""What is known about the concepts of a scene: first their boxes, then their masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from . import masks as pipeline
from .boxes import Box


@dataclass(frozen=True, eq=False)
class Boxes:
    """K concepts on B pictures of one size: their boxes.

    phrases: K. pictures: [B, H, W, 3], 0 to 1. chosen: B rows of K boxes, None where a concept is empty.
    found: B rows of K tuples, every box of the concept's phrase, the chosen one among them.
    """

    phrases: tuple[str, ...]
    pictures: torch.Tensor
    chosen: tuple[tuple[Box | None, ...], ...]
    found: tuple[tuple[tuple[Box, ...], ...], ...]

    def join(self, more: Boxes, node: str = "Find Concepts") -> Boxes:
        """The concepts of both, these first. Raises unless both are of the same pictures. node: begins the error."""
        if not torch.equal(self.pictures, more.pictures):
            given, needed = (" x ".join(map(str, one.pictures.shape[:3])) for one in (self, more))
            raise ValueError(
                f"{node}: `previous` holds concepts of other pictures ({given}) than `image` ({needed}; pictures x height "
                "x width). Connect the same pictures to both nodes."
            )
        return Boxes(
            (*self.phrases, *more.phrases),
            more.pictures,
            tuple((*a, *b) for a, b in zip(self.chosen, more.chosen, strict=True)),
            tuple((*a, *b) for a, b in zip(self.found, more.found, strict=True)),
        )


@dataclass(frozen=True, eq=False)
class Concepts:
    """K concepts on B pictures of one size: their places, for whatever paints them.

    phrases: K names. boxes: B rows of K boxes, None where a concept is empty; a box holds its score.
    masks: [B, K, H, W] on the picture, 0 to 1, disjoint; zero where a concept is empty. feather: standard
    deviation of the blur of the blend weights, in latent pixels.
    """

    phrases: tuple[str, ...]
    boxes: tuple[tuple[Box | None, ...], ...]
    masks: torch.Tensor
    feather: float

    def blend_weights(self, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(M_i [B, K, h, w], M_BG [B, 1, h, w]) on a latent grid: never negative, and together one at every pixel."""
        pairs = [pipeline.blend_weights(masks, height, width, self.feather) for masks in self.masks]
        own, background = zip(*pairs, strict=True)
        return torch.stack(own), torch.stack(background)

    def mask_boxes(self) -> list[list[Box | None]]:
        """For each picture K boxes around the masks, with the scores of the boxes they came of; None where one is black."""
        return [
            [_around(mask, box) if box and mask.any() else None for mask, box in zip(masks, row, strict=True)]
            for masks, row in zip(self.masks, self.boxes, strict=True)
        ]


@dataclass(frozen=True)
class Finish:
    """What becomes of raw masks. grow: pixels, before they are shared out; negative shrinks. overlaps: one of SHARE_OUTS.

    feather: standard deviation of the blur of the blend weights, in latent pixels.
    """

    grow: int = 8
    overlaps: str = pipeline.SHARE_OUTS[0]
    feather: float = 1.0


def place(
    masks: torch.Tensor, boxes: tuple[Box | None, ...], names: tuple[str, ...], finish: Finish, where: str,
    painted: Mapping[int, pipeline.Painted] = pipeline.NOTHING_PAINTED,
) -> torch.Tensor:  # fmt: skip
    """Disjoint masks [K, H, W] of one picture, from its raw masks [K, H, W]: the pipeline up to the latent grid.

    where: begins messages, such as `Concept Masks: in picture 1`. painted: what a user corrected, by position. Raises
    ValueError where a mask is black, or a concept would lose nearly all of its mask to others.
    """
    grown = pipeline.grow(masks.float().clamp(0, 1), finish.grow)
    empty = torch.tensor([box is None for box in boxes], device=masks.device)
    grown = pipeline.corrected(grown.masked_fill(empty.view(-1, 1, 1), 0), painted)
    for number in (~empty & (grown.sum(dim=(1, 2)) == 0)).nonzero().flatten().tolist():
        first = "Erase less of it" if number in painted else "Raise `grow`"
        raise ValueError(
            f"{where} the mask of `{names[number]}` is black everywhere. {first}, choose another instance or segmenter, or use "
            "box-shaped masks."
        )
    if finish.overlaps == pipeline.NEAREST_BOX:
        corners = torch.tensor([box.corners if box else (0.0,) * 4 for box in boxes], device=masks.device)
        distance = pipeline.distance_to_boxes(corners, *masks.shape[-2:])
    else:
        distance = torch.tensor([-(box.score if box else 0.0) for box in boxes], device=masks.device).view(-1, 1, 1)
    shared = pipeline.disjoint(grown, distance)
    pipeline.check_shares(grown, shared, names, where)
    return shared


def _around(mask: torch.Tensor, box: Box) -> Box:
    """The box around what is white in a mask [H, W], or around all that is not black where nothing is over one half."""
    return replace(box_of(mask if (mask > 0.5).any() else (mask > 0).float()), score=box.score)


def box_of(mask: torch.Tensor) -> Box:
    """The smallest box around what is white (over one half) in a mask [H, W]; a box without an area if nothing is."""
    rows, columns = (mask > 0.5).nonzero(as_tuple=True)
    if not len(rows):
        return Box(0.0, 0.0, 0.0, 0.0)
    return Box(columns.min().item(), rows.min().item(), columns.max().item() + 1.0, rows.max().item() + 1.0)
