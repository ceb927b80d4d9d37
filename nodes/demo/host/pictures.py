"""The pictures that ship with the pack, for the demo models."""

from __future__ import annotations

from pathlib import Path

import numpy
import torch
from PIL import Image

from .. import examples as known
from . import folders

FOLDER = folders.PACK / "demo"
LARGE = folders.PACK / "js" / "examples"
"""The same pictures, large, where Example Pictures' own widget finds them, too."""
MASKS = FOLDER / "masks"
"""Of the large pictures: white on the toy."""
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


def examples(node: str, name: str, side: str) -> tuple[torch.Tensor, torch.Tensor, str]:
    """Pictures [R, H, W, 3] in 0..1, masks [R, H, W] that are 1 on the toy, and captions, one a line, of an example.

    name: one of PICTURES or SETS of `examples.py`. side: one of its SIZES. node: who speaks in errors.
    """
    names = known.members(name)
    small = side == known.SIZES[0]
    files = [FOLDER / f"{known.PICTURES[one]}.png" if small else LARGE / f"{one}.png" for one in names]
    pictures = torch.stack([_read(node, path) for path in files])
    masks = torch.stack([_read(node, MASKS / f"{one}.png", "L") for one in names])
    if small:
        masks = torch.nn.functional.interpolate(masks[:, None], pictures.shape[1:3], mode="area")[:, 0]
    return pictures, masks, "\n".join(f"a photo of a {one}" for one in names)


def _read(node: str, path: Path, mode: str = "RGB") -> torch.Tensor:
    try:
        with Image.open(path) as picture:
            pixels = numpy.array(picture.convert(mode))
    except (OSError, ValueError, SyntaxError) as problem:
        raise ValueError(f"{node}: {path} cannot be read as a picture: {problem}. {REMEDY}") from problem
    return torch.from_numpy(pixels).float() / 255
