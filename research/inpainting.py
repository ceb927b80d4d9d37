"""Several subjects one after the other (JeDi, section 8): each is painted into its place of a picture that is there already."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F

from ..nodes.demo.toys import SIDE
from ..nodes.joint import references, settings
from ..nodes.joint.host import channels, sets
from . import world
from .held_out import HeldOut

GROWN = 4
"""Pixels around a toy that are painted anew, too."""


def square_around(mask: torch.Tensor, step: int) -> int:
    """The left edge of the SIDE x SIDE square of a picture that a mask [H, W] is in the middle of, in whole latents."""
    across = mask.sum(dim=0) @ torch.arange(mask.shape[1]).to(mask) / mask.sum().clamp(min=1e-6)
    left = (float(across) - SIDE / 2) / step
    return min(max(round(left), 0), (mask.shape[1] - SIDE) // step) * step


def grown(mask: torch.Tensor, pixels: int = GROWN) -> torch.Tensor:
    """A mask [H, W] as a solid one that reaches further."""
    return (F.max_pool2d(mask[None, None], 2 * pixels + 1, 1, pixels)[0, 0] > 0.5).float()


def one_after_the_other(
    tools: tuple, sampled: Callable[..., torch.Tensor], pair: HeldOut, picture: torch.Tensor, masks: torch.Tensor, seed: int
) -> torch.Tensor:
    """``picture`` [1, H, W, 3] with each subject of a pair inside its mask, [K, H, W], the first one first.

    tools: model, CLIP and VAE. A model that was trained on sets sees the square around each toy, which is what it was trained
    on; another one the whole picture. sampled: from model, positive, negative, LATENT and seed to a picture. Outside of the masks
    the picture stays as it is, in pixels.
    """
    model, clip, vae = tools
    trained = channels.trained_on_sets(model)
    for number, mask in enumerate(masks):
        left = square_around(mask, vae.spacial_compression_encode()) if trained else 0
        right = left + SIDE if trained else picture.shape[2]
        before, where = picture[:, :, left:right], grown(mask)[:, left:right]
        view = pair.views[number].movedim(0, -1)
        seen = references.gather(
            [view], [pair.view_masks[number, 0]], [pair.captions[number]], "crop" if trained else "pad", "grey", True
        )
        alone = world.caption(world.SHAPES.index(pair.captions[number].split()[4]), pair.scene)
        start = {"samples": vae.encode(before), "noise_mask": where[None, None]}
        prepared = sets.prepare(
            clip, vae, seen, [alone if trained else pair.prompt], "", 1, right - left, picture.shape[1], start=start
        )
        options = sets.options_of(settings.AUTO, model, prepared.joint_set)
        if not trained:
            options = replace(options, subject_masks=settings.GIVEN)
        painted = sets.apply(model, prepared.joint_set, settings.Settings(options=options))
        after = sampled(painted, prepared.positive, prepared.negative, prepared.latent, seed + number)
        picture = picture.clone()
        picture[:, :, left:right] = torch.lerp(before, after, where[None, :, :, None])
    return picture
