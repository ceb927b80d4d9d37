"""From one mask a concept to blend weights on the latent grid (Multi-Concept Customization, eq. 8).

The pipeline, in this order: grow, correct by hand, make disjoint, area-average to the latent grid, one linear blur,
M_BG = 1 - sum M_i. Growing and the share-out keep the sum of the masks at most one; averaging and
blurring are linear with kernels that sum to one, so they keep it too, and the background is never negative.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
import torch.nn.functional as F

BY_SCORE, NEAREST_BOX = "best score first", "nearest box"
SHARE_OUTS = (BY_SCORE, NEAREST_BOX)
MOST_STRETCH = 1.1
"""How much masks may be stretched in one direction more than in the other to fit latents."""
LEAST_LEFT = 0.05
"""Least share of its own mask that a concept must keep when masks are made disjoint."""


def from_boxes(boxes: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Box-shaped masks [K, H, W], 1 inside. boxes: [K, 4] xyxy in pixels; a pixel is inside where its centre is."""
    y = torch.arange(height, device=boxes.device).view(1, -1, 1) + 0.5
    x = torch.arange(width, device=boxes.device).view(1, 1, -1) + 0.5
    left, top, right, bottom = boxes.float().view(-1, 4, 1, 1).unbind(1)
    return ((x >= left) & (x < right) & (y >= top) & (y < bottom)).float()


def stretched(masks: torch.Tensor, height: int, width: int) -> bool:
    """Whether masks [..., H, W] have another shape than the picture whose latents are ``height`` by ``width``.

    What they show would then lie elsewhere. A mask that is the same everywhere fits any picture.
    """
    across, down = masks.shape[-1] * height, masks.shape[-2] * width
    return max(across, down) > MOST_STRETCH * min(across, down) and bool((masks != masks[..., :1, :1]).any())


def check_shape(masks: torch.Tensor, height: int, width: int, name: str) -> None:
    """Raise where masks would be `stretched`. name: begins the error, such as `Apply Identity: `mask``."""
    if stretched(masks, height, width):
        raise ValueError(
            f"{name} has {masks.shape[-1]}x{masks.shape[-2]} pixels, but the latents have another shape, {width}x{height}. Give "
            "a mask of the picture's shape."
        )


def grow(masks: torch.Tensor, pixels: int) -> torch.Tensor:
    """Masks [K, H, W] grown (pixels > 0) or shrunk (< 0) by so many pixels in every direction, diagonals too."""
    if not pixels or not len(masks):
        return masks
    reach, sign = abs(pixels), 1 if pixels > 0 else -1
    grown = F.max_pool2d(sign * masks[:, None], (2 * reach + 1, 1), stride=1, padding=(reach, 0))
    return sign * F.max_pool2d(grown, (1, 2 * reach + 1), stride=1, padding=(0, reach))[:, 0]


@dataclass(frozen=True, eq=False)
class Painted:
    """What a user painted on the mask of one concept. added, erased: [H, W], 0 to 1."""

    added: torch.Tensor
    erased: torch.Tensor


NOTHING_PAINTED: Mapping[int, Painted] = MappingProxyType({})


def corrected(masks: torch.Tensor, painted: Mapping[int, Painted]) -> torch.Tensor:
    """Masks [K, H, W] with what was painted, by position: erased from a concept's mask, then added to it.

    What is added to a concept is taken from all others, unless it was added to them, too; so it is not lost when masks are
    shared out.
    """
    if not painted:
        return masks
    masks = masks.clone()
    for position, one in painted.items():
        masks[position] *= 1 - one.erased.to(masks)
        others = [other for other in range(len(masks)) if other != position]
        masks[others] *= 1 - one.added.to(masks)
    for position, one in painted.items():
        masks[position] = torch.maximum(masks[position], one.added.to(masks))
    return masks


def disjoint(masks: torch.Tensor, distance: torch.Tensor) -> torch.Tensor:
    """Masks [K, H, W] in 0 to 1 cut down so that their sum is at most one at every pixel.

    distance: [K, H, W] or [K, 1, 1]; where masks meet, the concept of the least distance keeps its mask and
    the others share what is left, in order. Of equal distances the concept that is listed first wins.
    """
    order = distance.expand_as(masks).argsort(dim=0, stable=True)
    total = masks.gather(0, order).cumsum(0).clamp(max=1)
    return torch.zeros_like(masks).scatter(0, order, torch.diff(total, dim=0, prepend=torch.zeros_like(total[:1])))


def distance_to_boxes(boxes: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Distance [K, H, W] of every pixel to the centre of every box [K, 4] (xyxy), in half sizes of that box."""
    y = torch.arange(height, device=boxes.device).view(1, -1, 1) + 0.5
    x = torch.arange(width, device=boxes.device).view(1, 1, -1) + 0.5
    left, top, right, bottom = boxes.float().view(-1, 4, 1, 1).unbind(1)
    across = (x - (left + right) / 2) / ((right - left) / 2).clamp(min=0.5)
    down = (y - (top + bottom) / 2) / ((bottom - top) / 2).clamp(min=0.5)
    return across.square() + down.square()


def area_average(masks: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Masks [K, H, W] on a grid of another size [K, h, w]: each value is the mean over the area it covers.

    Exact for any ratio of sizes, so that the mean of a mask is the same on both grids.
    """
    rows = _overlaps(masks.shape[-2], height).to(masks)
    columns = _overlaps(masks.shape[-1], width).to(masks)
    return rows @ masks @ columns.T


def _overlaps(given: int, wanted: int) -> torch.Tensor:
    """[wanted, given]: which share of each wanted cell each given cell covers; rows sum to one."""
    edges = torch.arange(wanted + 1, dtype=torch.float64) * given / wanted
    cells = torch.arange(given, dtype=torch.float64)
    shared = torch.minimum(edges[1:, None], cells + 1) - torch.maximum(edges[:-1, None], cells)
    return shared.clamp(min=0) * wanted / given


def blur(masks: torch.Tensor, radius: float) -> torch.Tensor:
    """Masks [K, h, w] blurred once by a Gaussian of standard deviation ``radius`` latent pixels; 0 leaves them."""
    if radius <= 0 or not len(masks):
        return masks
    reach = max(1, round(3 * radius))
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.float64) / radius) ** 2)
    kernel = (kernel / kernel.sum()).to(masks)
    padded = F.pad(masks[:, None], (reach, reach, reach, reach), mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))[:, 0]


def blend_weights(masks: torch.Tensor, height: int, width: int, radius: float) -> tuple[torch.Tensor, torch.Tensor]:
    """(M_i [K, h, w], M_BG [1, h, w]) of disjoint masks [K, H, W]; together they sum to one everywhere.

    radius: of the blur, in latent pixels.
    """
    own = blur(area_average(masks.float(), height, width), radius).clamp(min=0)
    own = own / own.sum(0, keepdim=True).clamp(min=1)  # a rounding error above one, nothing else
    return own, 1 - own.sum(0, keepdim=True)


def check_shares(before: torch.Tensor, after: torch.Tensor, names: tuple[str, ...], where: str) -> None:
    """Raise if a concept lost nearly all of its mask when masks [K, H, W] were made disjoint."""
    had, has = before.sum(dim=(1, 2)), after.sum(dim=(1, 2))
    for number in ((had > 0) & (has < LEAST_LEFT * had)).nonzero().flatten().tolist():
        shared = (before * before[number]).sum(dim=(1, 2))
        shared[number] = -1
        raise ValueError(
            f"{where} the mask of `{names[number]}` lies almost wholly inside that of `{names[int(shared.argmax())]}`: "
            f"{has[number] / had[number]:.1%} of it would be left, but at least {LEAST_LEFT:.0%} is needed. Choose another "
            "instance or mask, set `overlaps` to the other choice, or lower `grow`."
        )
