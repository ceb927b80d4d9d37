"""Reference pictures: their captions, blanked backgrounds, and fitting them to one size."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

FITS = ("crop", "pad", "stretch")
BACKGROUNDS = {"grey": 0.5, "white": 1.0, "black": 0.0}
CHANNELS = {1: "grey", 3: "colour", 4: "colour and transparency"}
MOST_CUT = 16
"""A picture longer than so many frames is cut before it is resized: a line of pixels would take gigabytes."""
FAINTEST = 0.5 / 255
"""A mask below this everywhere shows nothing of a picture in 8 bits."""


class Subject:
    """Is shown by the references that were gathered together, and told from other subjects by its identity alone."""


@dataclass(frozen=True, eq=False)
class Reference:
    """One picture of the subject: [H, W, 3] in 0..1, its caption, and how to bring it to another size.

    fit: one of FITS. background: the grey level in 0..1 that padding is filled with. mask: where the subject is, [H, W] of the
    picture's size, or None if that is not known. subject: its word in the caption, or nothing. strength: how often each of its
    tokens counts in attention. where: on which part of generated pictures it acts, [P, height, width] of any size, one mask
    for all of them or one each; None is everywhere. by_word: the subject whose place on generated pictures is found by its word
    in their prompts; None if it is not.
    """

    picture: torch.Tensor
    caption: str
    fit: str
    background: float
    mask: torch.Tensor | None = None
    subject: str = ""
    strength: float = 1.0
    where: torch.Tensor | None = None
    by_word: Subject | None = None

    def fitted(self, width: int, height: int) -> torch.Tensor:
        """This picture as [height, width, 3].

        crop keeps the aspect and cuts what sticks out, centred; pad keeps the aspect and fills the
        rest; stretch changes the aspect. Bicubic, antialiased.
        """
        own_height, own_width = self.picture.shape[:2]
        across, down = width / own_width, height / own_height
        if self.fit == "stretch":
            return _resize(self.picture, width, height)
        scale = max(across, down) if self.fit == "crop" else min(across, down)
        picture = self.picture
        if self.fit == "crop":
            picture = _crop(picture, *(min(own, math.ceil(MOST_CUT * side / scale)) for own, side in
                                       ((own_width, width), (own_height, height))))  # fmt: skip
            own_height, own_width = picture.shape[:2]
        size = (round(own_width * scale), round(own_height * scale))
        bound = max if self.fit == "crop" else min
        inner = _resize(picture, max(1, bound(size[0], width)), max(1, bound(size[1], height)))
        return _crop(inner, width, height) if self.fit == "crop" else self._pad(inner, width, height)

    def fitted_mask(self, width: int, height: int) -> torch.Tensor | None:
        """The subject's mask as [height, width], cut, padded or distorted as the picture is."""
        if self.mask is None:
            return None
        as_picture = replace(self, picture=self.mask[..., None].expand(-1, -1, 3), background=0.0)
        return as_picture.fitted(width, height)[..., 0]

    def _pad(self, picture: torch.Tensor, width: int, height: int) -> torch.Tensor:
        canvas = picture.new_full((height, width, 3), self.background)
        top, left = (height - picture.shape[0]) // 2, (width - picture.shape[1]) // 2
        canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
        return canvas


def made_for(text_width: int) -> int:
    """How many pixels the pictures have that a model was made for, by the width of its text states.

    512x512 for Stable Diffusion 1.5 and 2 (768 and 1024), 1024x1024 for XL (2048) and wider ones, 64x64 for the demo.
    """
    side = 64 if text_width < 768 else 512 if text_width < 1280 else 1024
    return side * side


def set_size(width: int, height: int, own: tuple[int, int], most: int, step: int) -> tuple[int, int]:
    """Width and height of a set, multiples of ``step``; what is 0 follows the first reference, of ``own`` width and height.

    Where that would make more than ``most`` pixels, the reference's aspect is kept: without a side on an area of ``most``
    pixels, else beside the one that is given. A given side is rounded down, and 0 if it is less than a step.
    """
    wanted = width or own[0], height or own[1]
    if (width and height) or wanted[0] * wanted[1] <= most:
        return wanted[0] // step * step, wanted[1] // step * step
    aspect = own[0] / own[1]
    if width:
        return width // step * step, _side(width / aspect, max(most / width, 2 * width), step)
    if height:
        return _side(height * aspect, max(most / height, 2 * height), step), height // step * step
    longest = most / step
    return _side(math.sqrt(most * aspect), longest, step), _side(math.sqrt(most / aspect), longest, step)


def _side(length: float, longest: float, step: int) -> int:
    return max(1, round(min(length, longest) / step)) * step


def blank(picture: torch.Tensor, mask: torch.Tensor, background: float) -> torch.Tensor:
    """Keep ``picture`` [H, W, 3] where ``mask`` [H, W] of any size is 1 and show ``background`` where it is 0."""
    mask = _resize_mask(mask, picture)[..., None]
    return picture * mask + background * (1 - mask)


def unbatch_pictures(batches: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    """The pictures [H, W, C] of batches [B, H, W, C], in order, in single precision at least.

    Raises ValueError for what is no picture: other axes or channels, no pixel, whole numbers, NaN and infinity.
    """
    pictures = []
    for batch in batches:
        if batch.ndim != 4:
            raise ValueError(
                f"Reference Pictures: `images` got a batch of shape {tuple(batch.shape)}, but needs (pictures, height, width, "
                "channels). Connect pictures such as Load Image gives; a single one needs a first axis of 1."
            )
        pictures += list(batch)
    for number, picture in enumerate(pictures, 1):
        height, width, channels = picture.shape
        if not height or not width:
            raise ValueError(
                f"Reference Pictures: picture {number} has {width}x{height} pixels, but needs at least 1x1. Disconnect it, or "
                "see why the node before it cut everything away."
            )
        if channels not in CHANNELS:
            known = ", ".join(f"{count} ({name})" for count, name in CHANNELS.items())
            raise ValueError(
                f"Reference Pictures: picture {number} has {channels} channels, but needs one of {known}. Connect it in colour."
            )
        if not picture.is_floating_point():
            raise ValueError(
                f"Reference Pictures: picture {number} is made of {str(picture.dtype).removeprefix('torch.')} numbers, but needs "
                "fractions from 0 to 1. Connect it as Load Image gives it, or divide it by its white."
            )
        _check_finite(picture, f"picture {number}")
    return [picture.to(torch.promote_types(picture.dtype, torch.float32)) for picture in pictures]


def unbatch_masks(batches: Iterable[torch.Tensor], name: str = "masks") -> list[torch.Tensor]:
    """The masks [H, W] of batches [..., H, W], in order, as fractions in single precision at least. name: of their input.

    Raises ValueError for what is no mask: fewer axes, no pixel, NaN, infinity, and values far from 0 to 1.
    """
    masks: list[torch.Tensor] = []
    for batch in batches:
        if batch.ndim < 2 or not batch.numel():
            raise ValueError(
                f"Reference Pictures: `{name}` got a batch of shape {tuple(batch.shape)}, but needs (masks, height, width), none "
                "of them 0. Disconnect it, or see why the node before it gave no mask."
            )
        masks += list(batch.reshape(-1, *batch.shape[-2:]))
    where = "" if name == "masks" else f" of `{name}`"
    for number, mask in enumerate(masks, 1):
        _check_finite(mask, f"mask {number}{where}")
        if mask.min() < -0.5 or mask.max() > 1.5:  # what resampling overshoots is let through
            raise ValueError(
                f"Reference Pictures: mask {number}{where} has values from {mask.min():.4g} to {mask.max():.4g}, but needs "
                "0 to 1, where 1 is the subject. Divide it by its white."
            )
    return [mask.to(torch.promote_types(mask.dtype, torch.float32)) for mask in masks]


def gather(
    pictures: list[torch.Tensor],
    masks: list[torch.Tensor],
    captions: list[str],
    fit: str,
    background: str,
    keep_background: bool = False,
    subject: str = "",
    strength: float = 1.0,
    where: Sequence[torch.Tensor] = (),
    by_word: bool = False,
) -> tuple[Reference, ...]:
    """References from pictures [H, W, 1, 3 or 4] in 0..1, as many captions, and no masks, one or as many.

    masks: [H, W], 1 = subject, of any size; they blank the background, unless it is kept. An alpha channel
    does the same. The rest: see `Reference`. Raises ValueError where nothing of a picture would be left.
    """
    count = len(pictures)
    if not count:
        raise ValueError("Reference Pictures: no picture was given, but needs at least 1. Connect a picture to `images`.")
    if len(masks) not in (0, 1, count):
        raise ValueError(
            f"Reference Pictures: {len(masks)} masks were given for {count} pictures, but needs none, 1 or {count}. "
            "Connect one mask a picture, in the order of the pictures, or one mask batch."
        )
    level, whose = BACKGROUNDS[background], Subject() if by_word else None
    gathered = []
    for number, picture in enumerate(pictures):
        alpha = picture[..., 3] if picture.shape[-1] == 4 else None
        position = number if len(masks) > 1 else 0
        mask = masks[position] if masks else None
        _check_shown(picture, alpha, mask, number + 1, position + 1)
        colour = picture[..., :3] if picture.shape[-1] > 1 else picture.expand(-1, -1, 3)
        given = [shown for shown in (alpha, mask) if shown is not None]
        for shown in [] if keep_background else given:
            colour = blank(colour, shown, level)
        both = math.prod(_resize_mask(shown, picture) for shown in given) if given else None
        gathered.append(Reference(colour, captions[number], fit, level, both, subject, strength, _stack(where), whose))
    return tuple(gathered)


def _stack(masks: Sequence[torch.Tensor]) -> torch.Tensor | None:
    """Masks of one or several sizes as [P, h, w], at the size of the first; None for none."""
    if not masks:
        return None
    size = masks[0].shape
    return torch.stack([F.interpolate(mask[None, None].float(), size, mode="area")[0, 0] for mask in masks])


def _check_shown(picture, alpha: torch.Tensor | None, mask: torch.Tensor | None, number: int, mask_number: int) -> None:
    """Raise if transparency ``alpha`` and ``mask`` leave nothing of ``picture``. Numbers count from 1."""
    if alpha is not None and alpha.max() < FAINTEST:
        raise ValueError(
            f"Reference Pictures: picture {number} is transparent everywhere, so nothing of it would be left. Connect it without "
            "its transparency, or another picture."
        )
    if mask is None:
        return
    shown = _resize_mask(mask, picture)
    if shown.max() < FAINTEST:
        raise ValueError(
            f"Reference Pictures: mask {mask_number} is black everywhere, so nothing of picture {number} would be left. "
            "White marks the subject; disconnect `masks`, or switch `invert_masks` for a mask from Load Image."
        )
    if alpha is not None and (shown * alpha).max() < FAINTEST:
        raise ValueError(
            f"Reference Pictures: picture {number} is transparent wherever mask {mask_number} is white, so nothing of it would "
            "be left. Disconnect `masks`, or switch `invert_masks` for a mask from Load Image."
        )


def _check_finite(values: torch.Tensor, name: str) -> None:
    if not values.isfinite().all():
        raise ValueError(
            f"Reference Pictures: {name} holds NaN or infinity, but needs numbers from 0 to 1. The node that made it failed, as "
            "half precision does at times; run that in full precision, or connect another."
        )


def _resize_mask(mask: torch.Tensor, picture: torch.Tensor) -> torch.Tensor:
    """``mask`` [H', W'] at the size of ``picture`` [H, W, C]: [H, W]."""
    return F.interpolate(mask[None, None].to(picture), picture.shape[:2], mode="bilinear", antialias=True)[0, 0]


def _resize(picture: torch.Tensor, width: int, height: int) -> torch.Tensor:
    if picture.shape[:2] == (height, width):
        return picture
    rows = picture.movedim(-1, 0)[None]
    return F.interpolate(rows, (height, width), mode="bicubic", antialias=True)[0].movedim(0, -1).clamp(0, 1)


def _crop(picture: torch.Tensor, width: int, height: int) -> torch.Tensor:
    top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    return picture[top : top + height, left : left + width]
