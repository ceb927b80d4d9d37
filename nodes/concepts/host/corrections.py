"""What a user painted on masks: pictures in the host's input folder that the input `corrections` of Concept Masks names.

Red is added to a concept's mask, blue is erased from it, black leaves it as it is. The brush on the node saves such files; any
program can.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import folder_paths
import numpy as np
import torch
from PIL import Image

from ...host import model_files
from ..by_hand import CORRECTIONS, Entry
from ..masks import Painted


def find(name: str) -> Path:
    """A file of the input folder. Raises ValueError where there is none, or the name leads out of that folder."""
    folder = folder_paths.get_input_directory()
    path = Path(folder, *name.split("/"))
    there = len(name) < 1000 and model_files.is_inside(name) and os.path.isfile(path)
    if not (there and path.resolve().is_relative_to(Path(folder).resolve())):
        raise CORRECTIONS.says(f"names `{ascii(name)[1:-1][:100]}`, which is no file in {folder}")
    return path


def fingerprint(entries: Sequence[Entry]) -> tuple[str, ...]:
    """What the named files hold."""
    return tuple(hashlib.sha256(find(entry.file or "").read_bytes()).hexdigest() for entry in entries)


def read(entries: Mapping[int, Entry], height: int, width: int) -> dict[int, Painted]:
    """What the files of one picture's entries, by position, hold for masks [height, width]; raises ValueError with the remedy."""
    return {position: _read(find(entry.file or ""), height, width) for position, entry in entries.items()}


def _read(path: Path, height: int, width: int) -> Painted:
    try:
        with Image.open(path) as file:
            size = file.size
            pixels = np.asarray(file.convert("RGB")) if size == (width, height) else None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as problem:
        raise CORRECTIONS.says(f"names {path.name}, which cannot be read as a picture") from problem
    if pixels is None:
        raise CORRECTIONS.says(f"names {path.name}, which has {size[0]}x{size[1]} pixels, but the picture has {width}x{height}")
    red, _, blue = torch.from_numpy(pixels.astype(np.float32) / 255).unbind(-1)
    return Painted(red, blue)
