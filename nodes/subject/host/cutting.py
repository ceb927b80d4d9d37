"""A subject cut out of its picture, as the image encoder sees it: white around it, square."""

from __future__ import annotations

import scipy.ndimage
import torch
import torch.nn.functional as F


def solid(mask: torch.Tensor) -> torch.Tensor:
    """A mask [H, W] in 0..1 as True and False, with its holes filled."""
    return torch.from_numpy(scipy.ndimage.binary_fill_holes((mask > 0.5).cpu().numpy()))


def cut_out(picture: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """A square [S, S, 3] that shows what a mask covers, on white, where S is the longer side of what it covers.

    picture: [H, W, 3] in 0..1. mask: [H, W] in 0..1. Raises ValueError if it covers nothing.
    """
    covered = solid(mask)
    if not covered.any():
        raise ValueError("its mask is empty, but needs to be white on the subject. Paint or find one that shows it")
    rows, columns = covered.any(dim=1).nonzero().flatten(), covered.any(dim=0).nonzero().flatten()
    part = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    shown = torch.where(covered[part][..., None], picture[part].cpu().float(), 1.0)
    height, width = shown.shape[:2]
    side = max(height, width)
    left, top = (side - width) // 2, (side - height) // 2
    return F.pad(shown, (0, 0, left, side - width - left, top, side - height - top), value=1.0)
