"""The pictures that ship with the pack, for the demo models."""

from __future__ import annotations

from pathlib import Path

import numpy
import torch
from PIL import Image

from . import folders

FOLDER = folders.PACK / "demo"
REFERENCES, TOYS = "reference", "toy"
"""Several pictures of one subject; one picture of each of two toys."""
REMEDY = "Reinstall the pack, or connect Load Image instead of `pictures`."


def paths(kind: str) -> list[Path]:
    """`<kind>_1.png` and on, in order; empty if there are none."""
    return sorted(FOLDER.glob(f"{kind}_*.png"))


def load(node: str, kind: str) -> torch.Tensor:
    """All of them as one batch [R, H, W, 3] in 0..1; raises with the file's name and the remedy. node: who speaks in errors."""
    found = paths(kind)
    if not found:
        raise ValueError(f"{node}: {FOLDER} holds no {kind}_1.png, needed for `pictures`. {REMEDY}")
    return torch.stack([_read(node, path) for path in found])


def _read(node: str, path: Path) -> torch.Tensor:
    try:
        with Image.open(path) as picture:
            pixels = numpy.array(picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError) as problem:
        raise ValueError(f"{node}: {path} cannot be read as a picture: {problem}. {REMEDY}") from problem
    return torch.from_numpy(pixels).float() / 255
