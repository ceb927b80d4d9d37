"""Reference pictures: their captions, blanked backgrounds, and fitting them to one size."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

FITS = ("crop", "pad", "stretch")
BACKGROUNDS = {"grey": 0.5, "white": 1.0, "black": 0.0}


@dataclass(frozen=True, eq=False)
class Reference:
    """One picture of the subject: [H, W, 3] in 0..1, its caption, and how to bring it to another size.

    fit: one of FITS. background: the grey level in 0..1 that padding is filled with.
    """

    picture: torch.Tensor
    caption: str
    fit: str
    background: float

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
        size = (round(own_width * scale), round(own_height * scale))
        bound = max if self.fit == "crop" else min
        inner = _resize(self.picture, max(1, bound(size[0], width)), max(1, bound(size[1], height)))
        return _crop(inner, width, height) if self.fit == "crop" else self._pad(inner, width, height)

    def _pad(self, picture: torch.Tensor, width: int, height: int) -> torch.Tensor:
        canvas = picture.new_full((height, width, 3), self.background)
        top, left = (height - picture.shape[0]) // 2, (width - picture.shape[1]) // 2
        canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
        return canvas


def blank(picture: torch.Tensor, mask: torch.Tensor, background: float) -> torch.Tensor:
    """Keep ``picture`` [H, W, 3] where ``mask`` [H, W] of any size is 1 and show ``background`` where it is 0."""
    mask = F.interpolate(mask[None, None].to(picture), picture.shape[:2], mode="bilinear", antialias=True)[0, 0, ..., None]
    return picture * mask + background * (1 - mask)


def gather(
    pictures: list[torch.Tensor], masks: list[torch.Tensor], captions: list[str], fit: str, background: str
) -> tuple[Reference, ...]:
    """References from pictures [H, W, 3 or 4] in 0..1, as many captions, and no masks, one or as many.

    masks: [H, W], 1 = subject, of any size; they blank the background. An alpha channel does the same.
    """
    count = len(pictures)
    if not count:
        raise ValueError("Reference Pictures: no picture was given, but needs at least 1. Connect a picture to `images`.")
    if len(masks) not in (0, 1, count):
        raise ValueError(
            f"Reference Pictures: {len(masks)} masks were given for {count} pictures, but needs none, 1 or {count}. "
            "Connect one mask a picture, in the order of the pictures, or one mask batch."
        )
    masks = masks * count if len(masks) == 1 else masks
    for number, mask in enumerate(masks):
        if not mask.any():
            raise ValueError(
                f"Reference Pictures: mask {number} is black everywhere, so nothing of picture {number} would be left. "
                "White marks the subject; disconnect `masks`, or switch `invert_masks` for a mask from Load Image."
            )
    level = BACKGROUNDS[background]
    gathered = []
    for number, picture in enumerate(pictures):
        colour = picture[..., :3] if picture.shape[-1] > 1 else picture.expand(-1, -1, 3)
        if picture.shape[-1] == 4:
            colour = blank(colour, picture[..., 3], level)
        if masks:
            colour = blank(colour, masks[number], level)
        gathered.append(Reference(colour, captions[number], fit, level))
    return tuple(gathered)


def _resize(picture: torch.Tensor, width: int, height: int) -> torch.Tensor:
    if picture.shape[:2] == (height, width):
        return picture
    rows = picture.movedim(-1, 0)[None]
    return F.interpolate(rows, (height, width), mode="bicubic", antialias=True)[0].movedim(0, -1).clamp(0, 1)


def _crop(picture: torch.Tensor, width: int, height: int) -> torch.Tensor:
    top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    return picture[top : top + height, left : left + width]
