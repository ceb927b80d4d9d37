"""The pictures of the help pages of Find Concepts and Concept Masks: before, and with what a user chose and painted."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import ImageColor

from ..dev import pack
from ..nodes.concepts import by_hand, choosing, detection, masks, places
from ..nodes.concepts.host import finding, labelling
from ..nodes.data.pictures import as_picture
from ..nodes.demo.host import pictures, tools

LARGER = 4
GAP = 8
"""Pixels between before and after."""


def run(folder: Path) -> None:
    _, finder = tools.load(pack.ROOT / "demo" / "scenes.safetensors")
    ball, star = pictures.load("help_pictures.py", "toy")[:2]
    picture = torch.cat((ball, star, ball), dim=1)[None]
    wanted = (by_hand.Entry(1, number=2),)
    given = finder, picture, ["ball", "star"], choosing.Rule(), detection.Thresholds(0.35, 0.25, 0.7)
    boxes, chosen = finding.find(*given), finding.find(*given, wanted)
    save(folder / "choosing.jpg", labelling.labelled(boxes, 768)[0], labelling.labelled(chosen, 768)[0])

    cut = finding.cut_out(boxes, places.Finish(2)).masks[0]
    x = torch.arange(picture.shape[2]).expand(cut.shape[1:])
    y = torch.arange(picture.shape[1])[:, None].expand(cut.shape[1:])
    disc = ((x - 34).square() + (y - 33).square() < 21**2).float()
    round_ball = masks.corrected(cut, {0: masks.Painted(disc, 1 - disc)})
    save(folder / "brush.jpg", tinted(picture[0], cut), tinted(picture[0], round_ball))


def tinted(picture: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """A picture [H, W, 3] with masks [K, H, W] in the colours of their concepts, enlarged."""
    for mask, name in zip(shares, labelling.COLOURS, strict=False):
        colour = torch.tensor(ImageColor.getrgb(name)) / 255
        picture = torch.lerp(picture, colour.expand_as(picture), 0.5 * mask[..., None])
    return F.interpolate(picture.movedim(-1, 0)[None], scale_factor=LARGER, mode="nearest")[0].movedim(0, -1)


def save(path: Path, *shown: torch.Tensor) -> None:
    """Pictures [H, W, 3] of one size, below each other, as one JPEG."""
    gap = torch.ones(GAP, *shown[0].shape[1:])
    whole = torch.cat([part for one in shown for part in (gap, one)][1:])
    as_picture(whole).save(path, quality=88)
    print(f"{path}: before and after")
