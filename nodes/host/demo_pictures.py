"""The pictures of one subject that ship with the pack, for the demo model."""

from __future__ import annotations

from pathlib import Path

import numpy
import torch
from PIL import Image

from . import folders

FOLDER = folders.PACK / "demo"
REMEDY = "Reinstall the pack, or connect Load Image to Reference Pictures instead."


def paths() -> list[Path]:
    """`reference_1.png` and on, in order; empty if there are none."""
    return sorted(FOLDER.glob("reference_*.png"))


def load() -> torch.Tensor:
    """All of them as one batch [R, H, W, 3] in 0..1; raises with the file's name and the remedy."""
    found = paths()
    if not found:
        raise ValueError(f"Load Demo Model: {FOLDER} holds no reference_1.png, needed for `pictures`. {REMEDY}")
    return torch.stack([_read(path) for path in found])


def _read(path: Path) -> torch.Tensor:
    try:
        with Image.open(path) as picture:
            pixels = numpy.array(picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError) as problem:
        raise ValueError(f"Load Demo Model: {path} cannot be read as a picture: {problem}. {REMEDY}") from problem
    return torch.from_numpy(pixels).float() / 255
