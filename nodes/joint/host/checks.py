"""Refusing a run that does not fit its joint set, before its first step."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import comfy.model_management
import comfy.samplers
import torch

from .. import guidance
from ..layout import JointSet
from . import bank, tagging

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
    """Raise if a guider cannot do what ``mode`` asks for."""
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


def check_words(conds: dict[str, list[dict]]) -> None:
    """Raise unless some conditioning of whole pictures has the texts that a set's places by words are found in."""
    whole = [(name, cond) for name in conds for cond in conds[name] if "area" not in cond and not cond.get("set_area_to_bounds")]
    if not any(tagging.has_own_texts(name, cond) for name, cond in whole):
        raise ValueError(
            "JeDi: `place` of Reference Pictures is `by its word`, but no conditioning of whole pictures with the prompts of "
            "Joint Set reaches the sampler. Connect `positive` of Joint Set without Conditioning (Set Area), or set `place` to "
            "`as given`."
        )


def warn_of_areas(conds: dict[str, list[dict]]) -> None:
    """Say in the log that conditioning of an area, which the host paints as a crop of the batch, crops references too."""
    if names := tagging.with_areas(conds):
        logging.warning(
            f"JeDi: the {' and '.join(names)} conditioning has areas. Inside an area pictures see only the same crop of the "
            "references. Use Conditioning (Set Mask) with `default` instead, where they see the references whole."
        )


@contextmanager
def within_memory(model, joint_set: JointSet) -> Iterator[None]:
    """Say of a run of the ModelPatcher ``model`` that is out of memory how many rows would fit, by the host's own estimate.

    What is raised stays of the host's type, so that it unloads its models.
    """
    try:
        yield
    except comfy.model_management.OOM_EXCEPTION as problem:
        if not isinstance(problem, RuntimeError):  # devices for which the host knows no type of its own
            raise
        raise type(problem)(_too_large(model, joint_set)) from problem


def _too_large(model, joint_set: JointSet) -> str:
    layout, shape = joint_set.layout, joint_set.references.shape[1:]
    total = comfy.model_management.get_total_memory(model.load_device)
    free = total - model.model_size()
    fitting = [rows for rows in range(1, layout.rows) if model.model.memory_required([rows, *shape]) <= free]
    most, gibibytes = max(fitting, default=0), f"{total / 2**30:.1f} GiB"
    said = (
        f"JeDi: memory ran out on {layout.describe()} with latents of {shape[2]}x{shape[1]}. By ComfyUI's estimate about {most} "
        f"rows at once fit beside the model into the device's {gibibytes}. "
    )
    if held := bank.on_device(model.model, model.load_device):
        said += f"`bank` of JeDi Options held {max(1, round(held / 2**20))} MiB there: set it to 0. "
    if most <= layout.references:
        return said + "Make `width` and `height` of Joint Set smaller, or take fewer references."
    pictures = min(most - layout.references, layout.pictures)
    return said + (
        f"Set `sets` of Joint Set to 1 with at most {pictures} prompts, or connect Context Windows (Manual) to the model with "
        f"`dim` 0 and `context_length` {most}: each window holds all references."
    )
