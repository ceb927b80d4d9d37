"""Small pictures that nodes show in themselves, in the host's temporary folder as its own previews are."""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from comfy_api.latest import io, ui

SIDE = 96
"""Longest side of a small picture, in pixels."""

COME_BACK = {"has_intermediate_output": True} if "has_intermediate_output" in inspect.signature(io.Schema).parameters else {}
"""For the schema of a node that shows pictures: they come back where it did not have to run again. ComfyUI 0.16.3 cannot."""


def small(picture: torch.Tensor, most: int = SIDE) -> torch.Tensor:
    """``picture`` [H, W, C] in 0..1 with its longest side no longer than ``most`` pixels, on the CPU."""
    scale = min(1.0, most / max(picture.shape[:2]))
    size = [max(1, round(side * scale)) for side in picture.shape[:2]]
    rows = picture.movedim(-1, 0)[None].float()
    return F.interpolate(rows, size, mode="bilinear", antialias=True)[0].movedim(0, -1).clamp(0, 1).cpu()


def clear(picture: torch.Tensor, least: int = 192, most: int = 512) -> torch.Tensor:
    """As `small`, but a picture that is much smaller than ``least`` is enlarged a whole number of times."""
    times = max(1, least // max(picture.shape[:2]))
    return small(picture, most).repeat_interleave(times, 0).repeat_interleave(times, 1)


def save(pictures: Sequence[torch.Tensor]) -> list[dict]:
    """Where the frontend can fetch each of ``pictures`` [H, W, 3 or 4]: filename, subfolder and type."""
    if not pictures:
        return []
    name = f"same_subject_{uuid.uuid4().hex[:8]}"  # a browser keeps what it fetched under an earlier name
    return list(ui.ImageSaveHelper.save_images(pictures, name, io.FolderType.temp, cls=None, compress_level=1))
