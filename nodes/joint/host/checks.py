"""Refusing a run that does not fit its joint set, before its first step."""

from __future__ import annotations

import logging

import comfy.samplers
import torch

from .. import guidance
from ..layout import JointSet

REMEDY = (
    "Connect `latent` of Joint Set, or what a sampler made of it, straight to the sampler, and `joint_set` of the same "
    "Joint Set to JeDi; nodes that split, repeat or resize latent batches break a set."
)
MOST_ROUNDING = 0.03
"""Largest difference from a clean reference, as a share of the references' spread, that half precision explains."""


def check_latent(latent: torch.Tensor, joint_set: JointSet, noise_mask: torch.Tensor | None = None) -> None:
    """Raise unless ``latent`` [B, C, h, w], unscaled, holds what this set keeps in this set's rows, and all is finite."""
    layout, references = joint_set.layout, joint_set.references
    if latent.is_nested or latent.ndim != 4 or latent.shape[0] != layout.rows:
        given = "a nested batch" if latent.is_nested else f"{latent.shape[0]} rows"
        raise ValueError(f"JeDi: the latent batch has {given}, but its joint set needs {layout.describe()}. {REMEDY}")
    if latent.shape[1:] != references.shape[1:]:
        raise ValueError(
            f"JeDi: the latents have shape {tuple(latent.shape[1:])} (channels, height, width), but the references of the "
            f"joint set have {tuple(references.shape[1:])}. {REMEDY}"
        )
    for name, values in (("latent batch", latent), ("noise mask of the latents", noise_mask)):
        if values is not None and not values.isfinite().all():
            raise ValueError(
                f"JeDi: the {name} holds NaN or infinity, but needs finite numbers. The node that made it failed, as half "
                "precision does at times; run that in full precision (a VAE: --fp32-vae), or connect another."
            )
    held = joint_set.held
    if not held.rows:
        return
    clean = held.latents.to(latent)
    allowed = MOST_ROUNDING * clean.square().mean().sqrt() + 1e-6
    moved = (latent[held.rows] - clean).abs().amax(dim=(1, 2, 3)) > allowed
    for rows, name, content in (
        (layout.reference_rows, "reference rows", "the references"),
        (joint_set.known, "rows of finished pictures", "the pictures that `redo` leaves as they are"),
    ):
        wrong = [row for row, flag in zip(held.rows, moved.tolist(), strict=True) if flag and row in rows]
        if wrong:
            raise ValueError(
                f"JeDi: {len(wrong)} of the {len(rows)} {name} of the latent batch do not hold {content} of this joint set: the "
                f"batch is another set's, or its rows were moved. {REMEDY}"
            )


def check_guider(guider, mode: str) -> None:
    """Raise if a guider cannot do what ``mode`` asks for, or cuts the batch."""
    own_prediction = type(guider).predict_noise is not comfy.samplers.CFGGuider.predict_noise
    if mode in guidance.THREE_TERMS and own_prediction:
        raise ValueError(
            f"JeDi: `guidance` is `{mode}`, which combines three terms, but the guider {type(guider).__name__} combines its "
            "terms itself. Use KSampler, KSampler Advanced or CFG Guider, or set `guidance` to `joint` or `text only`."
        )
    if mode == guidance.IMAGE_FIRST and "negative" not in guider.conds:
        raise ValueError(
            "JeDi: `guidance` is `image first`, which needs a null text, but the guider has no negative conditioning. Use "
            "CFG Guider, or set `guidance` to `joint` or `text only`."
        )
    handler = guider.model_options.get("context_handler")
    if handler is not None and getattr(handler, "dim", 0) == 0:
        raise ValueError(
            "JeDi: Context Windows are on the model and cut the batch, but a joint set has to stay whole. Remove that node."
        )


def warn_of_areas(conds: dict[str, list[dict]]) -> None:
    """Say in the log that conditioning of an area, which the host paints as a crop of the batch, crops references too."""
    names = [name for name, cond in conds.items() if any("area" in one or one.get("set_area_to_bounds") for one in cond)]
    if names:
        logging.warning(
            f"JeDi: the {' and '.join(names)} conditioning has areas. Inside an area pictures see only the same crop of the "
            "references. Use Conditioning (Set Mask) with `default` instead, where they see the references whole."
        )
