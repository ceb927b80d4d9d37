"""Masks as run lengths, in COCO's form: column by column, from the top left, how many pixels are outside, inside, outside, …"""

from __future__ import annotations

import torch


def encode(mask: torch.Tensor) -> dict:
    """A mask [H, W], true inside, as ``{"size": [H, W], "counts": […]}``; the first count is of pixels outside."""
    pixels = mask.bool().T.flatten()
    changes = (pixels[1:] != pixels[:-1]).nonzero().flatten() + 1
    edges = [0, *changes.tolist(), len(pixels)]
    counts = [after - before for before, after in zip(edges, edges[1:], strict=False)]
    return {"size": list(mask.shape), "counts": [0, *counts] if len(pixels) and pixels[0] else counts}


def decode(said: dict, height: int, width: int) -> torch.Tensor:
    """The mask [height, width], bool. Raises ValueError where what is said is no mask of that size."""
    size, counts = (said.get("size"), said.get("counts")) if isinstance(said, dict) else (None, None)
    if size != [height, width]:
        raise ValueError(f"a mask's size is {str(size)[:40]}, but its picture has [{height}, {width}]")
    if not isinstance(counts, list) or not all(type(count) is int and count >= 0 for count in counts):
        raise ValueError("a mask's counts are not a list of whole numbers from 0")
    if sum(counts) != height * width:
        raise ValueError(f"a mask's counts add up to {sum(counts)}, but its picture has {height * width} pixels")
    inside = torch.arange(len(counts)) % 2 == 1
    return torch.repeat_interleave(inside, torch.tensor(counts, dtype=torch.long)).view(width, height).T.contiguous()
