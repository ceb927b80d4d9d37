"""Pictures as the publishers of CLIP and DINO show them to their networks, number for number.

Pictures are resized in 8 bits by Pillow, as there; other bicubic resamplers differ from it by up to one level in 255.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from PIL import Image

from ..data.pictures import tensor


@dataclass(frozen=True)
class Seeing:
    """How a network sees: the short side becomes ``short_side`` pixels (bicubic), the middle ``side`` x ``side`` is cut out."""

    short_side: int
    side: int
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]

    def prepared(self, picture: Image.Image) -> torch.Tensor:
        """An RGB picture as [3, side, side], normalised."""
        width, height = picture.size
        short, long = min(width, height), max(width, height)
        longer = int(self.short_side * long / short)
        size = (self.short_side, longer) if width <= height else (longer, self.short_side)
        if size != picture.size:
            picture = picture.resize(size, Image.Resampling.BICUBIC)
        left, top = (round((full - self.side) / 2) for full in size)
        middle = picture.crop((left, top, left + self.side, top + self.side))
        mean, deviation = (torch.tensor(value).view(3, 1, 1) for value in (self.mean, self.deviation))
        return (tensor(middle).movedim(-1, 0) - mean) / deviation


def clip(side: int = 224) -> Seeing:
    """As OpenAI's package shows pictures to CLIP."""
    return Seeing(side, side, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


def dino(side: int = 224) -> Seeing:
    """As DINO is evaluated, and as Custom Diffusion scores with it: resized to 256 for 224."""
    return Seeing(side * 256 // 224, side, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
