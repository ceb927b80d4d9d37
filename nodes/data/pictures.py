"""Reading picture files: whole, upright, in three colours, or refused as damaged."""

from __future__ import annotations

import io
import struct

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
MOST_PIXELS = 64_000_000
KINDS = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "WEBP": ".webp"}
"""Suffixes of the kinds that are opened, whatever a file is called. An MPO is a JPEG with more pictures behind the first."""
OPENED = ("JPEG", "PNG", "WEBP")
"""Pillow opens these and no others; its reader of EPS, for one, starts a program."""
MODES = ("RGB", "RGBA", "L", "LA", "P", "PA", "1", "CMYK", "YCbCr")
ORIENTATION = 0x0112


class Damaged(Exception):
    """A picture cannot be used; the message says why."""


def decode(data: bytes) -> Image.Image:
    """The picture in a file's bytes: RGB, turned upright as its EXIF says, on white where it is transparent.

    Raises Damaged where it is broken, of a kind with other than 8 bits a colour, or has more than MOST_PIXELS.
    """
    try:
        with Image.open(io.BytesIO(data), formats=OPENED) as picture:
            if picture.mode not in MODES:
                raise Damaged(f"its colours are of the kind {picture.mode}, which is not read")
            if picture.width * picture.height > MOST_PIXELS:
                raise Damaged(f"it has {picture.width} x {picture.height} pixels, but at most {MOST_PIXELS} are read")
            picture.load()
            turned = ImageOps.exif_transpose(picture)
            if turned.has_transparency_data:
                turned = turned.convert("RGBA")
                turned = Image.alpha_composite(Image.new("RGBA", turned.size, "white"), turned)
            return turned.convert("RGB")
    except UnidentifiedImageError as problem:
        raise Damaged("it cannot be read: it is no JPEG, PNG or WebP, or broken") from problem
    except (OSError, SyntaxError, ValueError, struct.error, EOFError, IndexError, KeyError, TypeError, OverflowError) as problem:
        raise Damaged(f"it cannot be read: {str(problem)[:200]}") from problem
    except Image.DecompressionBombError as problem:
        raise Damaged(str(problem)[:200]) from problem


def tensor(picture: Image.Image) -> torch.Tensor:
    """A picture as RGB, [H, W, 3] in 0..1."""
    return torch.from_numpy(np.asarray(picture.convert("RGB")).astype("float32") / 255)


def as_picture(values: torch.Tensor) -> Image.Image:
    """[H, W, 3] in 0..1 in 8 bits, to the nearest."""
    return Image.fromarray((values.float().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy())


def as_shown(data: bytes) -> tuple[str, bytes]:
    """(suffix, bytes) of a file that all readers show as `decode` does: the same, or a PNG where it is turned or transparent."""
    with Image.open(io.BytesIO(data), formats=OPENED) as picture:
        if picture.getexif().get(ORIENTATION, 1) == 1 and not picture.has_transparency_data:
            return KINDS[picture.format], data
    written = io.BytesIO()
    decode(data).save(written, "PNG")
    return ".png", written.getvalue()
