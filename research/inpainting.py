"""Several subjects one after the other (JeDi, section 8): each is painted into its place of a picture that is there already."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from ..nodes.demo.toys import SIDE
from ..nodes.joint import references, settings
from ..nodes.joint.host import sets, trained
from . import world
from .held_out import HeldOut

Sampled = Callable[..., torch.Tensor]
"""From model, positive, negative, LATENT and seed to a picture [1, H, W, 3]."""

GROWN = 4
"""Pixels around a toy that are painted anew, too, as in workflow "Demo - Several Toys by Inpainting"."""


def square_around(mask: torch.Tensor, step: int) -> int:
    """The left edge of the SIDE x SIDE square of a picture that a mask [H, W] is in the middle of, in whole latents."""
    across = mask.sum(dim=0) @ torch.arange(mask.shape[1]).to(mask) / mask.sum().clamp(min=1e-6)
    left = (float(across) - SIDE / 2) / step
    return min(max(round(left), 0), (mask.shape[1] - SIDE) // step) * step


def one_after_the_other(
    tools: tuple, sampled: Sampled, pair: HeldOut, picture: torch.Tensor, masks: torch.Tensor, seed: int
) -> torch.Tensor:
    """``picture`` [1, H, W, 3] with each subject of a pair inside its mask, [K, H, W], the first one first.

    tools: model, CLIP and VAE.
    """
    for number, mask in enumerate(masks):
        picture = inpainted(tools, sampled, pair, number, picture, mask, seed + number)
    return picture


def one_and_then_the_other(
    tools: tuple,
    sampled: Sampled,
    pair: HeldOut,
    found: Callable[[torch.Tensor], torch.Tensor | None],
    seed: int,
) -> torch.Tensor:
    """A scene [1, H, W, 3] painted with the first subject as reference, then the second one inside its mask, as in that workflow.

    found: the masks [K, H, W] of a picture's subjects, or None where it does not show them: then it stays as it is.
    """
    prepared = of_set(tools, pair, 0, pair.prompt, 2 * SIDE)
    picture = painted(tools, sampled, prepared, seed)
    masks = found(picture)
    return picture if masks is None else inpainted(tools, sampled, pair, 1, picture, masks[1], seed)


def inpainted(
    tools: tuple, sampled: Sampled, pair: HeldOut, number: int, picture: torch.Tensor, mask: torch.Tensor, seed: int
) -> torch.Tensor:
    """``picture`` [1, H, W, 3] with subject ``number`` of a pair inside its mask [H, W]; outside it stays as it is, in pixels.

    A model that was trained on sets sees the square around the toy, which it was trained on; another one the whole picture.
    """
    model, _, vae = tools
    on_sets = trained.on_sets(model)
    left = square_around(mask, vae.spacial_compression_encode()) if on_sets else 0
    right = left + SIDE if on_sets else picture.shape[2]
    before, where = picture[:, :, left:right], mask[:, left:right]
    alone = world.caption(world.SHAPES.index(pair.captions[number].split()[4]), pair.scene)
    start = {"samples": vae.encode(before), "noise_mask": where[None, None]}
    prepared = of_set(tools, pair, number, alone if on_sets else pair.prompt, right - left, start)
    after = painted(tools, sampled, prepared, seed)
    picture = picture.clone()
    picture[:, :, left:right] = torch.lerp(before, after, where[None, :, :, None])
    return picture


def of_set(tools: tuple, pair: HeldOut, number: int, prompt: str, width: int, start: dict | None = None):
    """A set of one picture, ``width`` x SIDE, and subject ``number`` of a pair as its reference."""
    model, clip, vae = tools
    view, mask = pair.views[number].movedim(0, -1), pair.view_masks[number, 0]
    fit = "crop" if trained.on_sets(model) else "pad"
    seen = references.gather([view], [mask], [pair.captions[number]], fit, "grey", True)
    return sets.prepare(clip, vae, seen, [prompt], "", 1, width, SIDE, start=start)


def painted(tools: tuple, sampled: Sampled, prepared, seed: int) -> torch.Tensor:
    """The picture to generate of a set, by the recipe that suits the model, its reference's mask as it was given."""
    model = tools[0]
    options = sets.options_of(settings.AUTO, model, prepared.joint_set)
    if not trained.on_sets(model):
        options = replace(options, subject_masks=settings.GIVEN)
    coupled = sets.apply(model, prepared.joint_set, settings.Settings(options=options))
    return sampled(coupled, prepared.positive, prepared.negative, prepared.latent, seed)
