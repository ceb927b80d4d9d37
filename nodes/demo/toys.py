"""Finding and recognising the toys of the demo world: what stands in for a detector of phrases and of faces.

The networks are small and trained (`research/finder.py`); they know nothing but the demo's pictures.
Pictures are [B, 3, H, W] in 0..1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from ..concepts.places import box_of

SHAPES = ("ball", "star", "box", "heart")
SIDE = 64
"""Height that a picture is seen at, and the side of what is recognised around a toy's middle."""
FEATURES = 64
LOUDNESS = 8.0
"""Length of an embedding; the recogniser's own vectors have length 1."""
LEAST_PIXELS = 40


def down(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, 2, 1), nn.GroupNorm(8, outputs), nn.SiLU())


class Trunk(nn.Module):
    """Four strided convolutions, then mean and maximum over the picture: [B, 3, H, W] to [B, outputs]."""

    def __init__(self, outputs: int):
        super().__init__()
        self.layers = nn.Sequential(down(3, 32), down(32, 64), down(64, 96), down(96, 128))
        self.head = nn.Sequential(nn.Linear(256, 128), nn.SiLU(), nn.Linear(128, outputs))

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        features = self.layers(picture - 0.5)
        return self.head(torch.cat((features.mean(dim=(2, 3)), features.amax(dim=(2, 3))), dim=1))


class ToySegmenter(nn.Module):
    """Logits [B, 1, H, W] of the subjects' mask, from quarter-size features with one skip."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = down(3, 32), down(32, 64), down(64, 96)
        self.middle = nn.Sequential(down(96, 96), nn.Upsample(scale_factor=2), nn.Conv2d(96, 96, 3, 1, 1), nn.SiLU())
        self.up = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(192, 64, 3, 1, 1), nn.SiLU())
        self.out = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(128, 32, 3, 1, 1), nn.SiLU(), nn.Conv2d(32, 1, 3, 1, 1))

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        half = self.first(picture - 0.5)
        quarter = self.second(half)
        eighth = self.third(quarter)
        quarter = torch.cat((self.up(torch.cat((self.middle(eighth), eighth), dim=1)), quarter), dim=1)
        return F.interpolate(self.out(quarter), picture.shape[-2:], mode="bilinear")


def cut(picture: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Pictures with what ``mask`` [B, 1, H, W] does not show in grey."""
    return torch.lerp(torch.full_like(picture, 0.5), picture, mask)


@dataclass(frozen=True, eq=False)
class Toy:
    """A toy in a picture: box_xyxy [4] in pixels, probability of each of SHAPES [4], raw embedding [FEATURES]."""

    box_xyxy: torch.Tensor
    shapes: torch.Tensor
    embedding: torch.Tensor


class Finder(nn.Module):
    """Which pixels show a toy, what shape it has, and which toy it is."""

    def __init__(self):
        super().__init__()
        self.embedder, self.segmenter, self.classifier = Trunk(FEATURES), ToySegmenter(), Trunk(len(SHAPES))

    def embed(self, square: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Raw embeddings [B, FEATURES] of the toys that ``mask`` [B, 1, H, W] shows."""
        return LOUDNESS * F.normalize(self.embedder(cut(square, mask)), dim=1)

    def shapes(self, square: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Logits of SHAPES [B, 4]."""
        return self.classifier(cut(square, mask))

    def seen(self, picture: torch.Tensor) -> torch.Tensor:
        """A picture [H, W, 3] in 0..1 of any size as the networks see it, [1, 3, SIDE, width]."""
        height, width = picture.shape[:2]
        wide = max(8, round(width / height * SIDE / 8) * 8)
        return F.interpolate(picture.movedim(-1, 0)[None].float(), (SIDE, wide), mode="bilinear", antialias=True).clamp(0, 1)

    @torch.no_grad()
    def toys(self, picture: torch.Tensor) -> list[Toy]:
        """The toys of one picture [H, W, 3] in 0..1 of any size, from left to right."""
        seen = self.seen(picture)
        scale = torch.tensor([picture.shape[1] / seen.shape[-1], picture.shape[0] / SIDE] * 2)
        found = []
        for mask in blobs(self.segmenter(seen)[0, 0] > 0):
            box = torch.tensor(box_of(mask).corners)
            square = around(seen, box), around(mask[None, None].float(), box)
            found.append(Toy(box * scale, self.shapes(*square)[0].softmax(dim=0), self.embed(*square)[0]))
        return sorted(found, key=lambda toy: float(toy.box_xyxy[0]))


def around(picture: torch.Tensor, box_xyxy: torch.Tensor) -> torch.Tensor:
    """The square of SIDE pixels around a box's middle, grey or (one channel) black outside of the picture."""
    left = int((box_xyxy[0] + box_xyxy[2] - SIDE) / 2)
    top = int((box_xyxy[1] + box_xyxy[3] - SIDE) / 2)
    padded = F.pad(picture, (SIDE,) * 4, value=0.5 if picture.shape[1] == 3 else 0.0)
    return padded[..., top + SIDE : top + 2 * SIDE, left + SIDE : left + 2 * SIDE]


def blobs(mask: torch.Tensor) -> list[torch.Tensor]:
    """The connected parts of a mask [H, W], each as a mask, leaving out tiny ones."""
    numbers = torch.arange(1, mask.numel() + 1).reshape(mask.shape).float() * mask
    while True:
        spread = F.max_pool2d(numbers[None, None], 3, 1, 1)[0, 0] * mask
        if torch.equal(spread, numbers):
            break
        numbers = spread
    labels, counts = numbers[mask].unique(return_counts=True)
    return [numbers == label for label in labels[counts >= LEAST_PIXELS]]
