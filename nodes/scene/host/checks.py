"""Refusing a scene whose parts cannot run side by side, before its first step."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Sequence

import comfy.sampler_helpers
import comfy.samplers
import torch
from comfy.patcher_extension import WrappersMP

from ...joint.host import sampling, tagging

KEY = "same_subject_scene"
"""Names a scene's wrappers."""


def check_models(background, branches: Sequence) -> None:
    """Refuse models that cannot run side by side, or do not fit what is connected beside them."""
    if is_joint(background):
        raise ValueError(
            "Concept Scene: `model` went through JeDi, which paints whole joint sets. Connect it to a Concept Branch with its "
            "`joint_set`, and a plain model here."
        )
    models = [background]
    for number, branch in enumerate(branches, 1):
        if branch.model is None:
            continue
        if branch.model.get_wrappers(WrappersMP.OUTER_SAMPLE, KEY):
            raise ValueError(f"Concept Scene: the model of concept {number} is a Concept Scene itself. Connect its own model.")
        needed, given = (one.get_model_object("latent_format") for one in (background, branch.model))
        if (needed.latent_channels, needed.scale_factor) != (given.latent_channels, given.scale_factor):
            raise ValueError(
                f"Concept Scene: the latents of the model of concept {number} have {given.latent_channels} channels and the "
                f"scale {given.scale_factor}, but the scene's have {needed.latent_channels} and {needed.scale_factor}. Use "
                "models of one family, with one VAE."
            )
        for other in models:
            _check_clones(other, branch.model, number)
        models.append(branch.model)


def check_guider(guider, branches: Sequence) -> None:
    """Raise if a run cannot be split into branches."""
    if type(guider).predict_noise is not comfy.samplers.CFGGuider.predict_noise:
        raise ValueError(
            f"Concept Scene: the guider {type(guider).__name__} combines its terms itself. Use KSampler, KSampler Advanced, "
            "CFG Guider or Basic Guider."
        )
    if is_joint(guider.model_patcher):
        raise ValueError(
            "Concept Scene: the model went through JeDi after Concept Scene. Connect JeDi's model to a Concept Branch."
        )
    entries = [entry for one in branches for conditioning in (one.positive, one.negative) for entry in conditioning]
    entries += [(None, cond) for conds in guider.original_conds.values() for cond in conds]
    if comfy.sampler_helpers.cond_has_hooks(entries):
        raise ValueError(
            "Concept Scene: a conditioning has hooks (LoRA or model hooks), which cannot be registered for several branches at "
            "once. Remove them, or load the checkpoint a second time with the LoRA and connect it to that Concept Branch."
        )
    check_models(guider.model_patcher, branches)  # nodes behind Concept Scene may have changed the model
    _check_records([guider.model_patcher, *(branch.model or guider.model_patcher for branch in branches)])


def is_continued(model, noise: torch.Tensor, sigmas: torch.Tensor) -> bool:
    """Whether a run goes on from what another sampler left: a latent holds one picture, not those of the branches."""
    return not noise.any() and float(sigmas[0]) < 0.99 * float(model.get_model_object("model_sampling").sigma_max)


def is_cut(guiders: Sequence) -> bool:
    """Whether the UNet is called on parts of pictures or batches in some branch: `own` cannot tell whose latents these are."""
    return any(
        tagging.with_areas(guider.original_conds) or guider.model_options.get("context_handler") is not None for guider in guiders
    )


def warn_if_continued(model, noise: torch.Tensor, sigmas: torch.Tensor) -> None:
    """Warn where a run `is_continued`."""
    if is_continued(model, noise, sigmas):
        logging.warning(
            "Concept Scene: `continue_from` is `own`, but this sampler goes on from another one's latents, which hold one "
            "picture: the concepts' own latents start again from it. Use one sampler for all steps, or set `continue_from` to "
            "`blend`."
        )


def is_joint(model) -> bool:
    return bool(model.get_wrappers(WrappersMP.OUTER_SAMPLE, sampling.KEY))


def _check_records(models: Sequence) -> None:
    """Refuse functions that carry what they saw of a branch on to their next call, if several of the models have them."""
    met: list[Callable] = []
    for model in models:
        for kind in ("sampler_pre_cfg_function", "sampler_post_cfg_function"):
            for function in model.model_options.get(kind, ()):
                name = _keeps_a_record(function)
                if name and function in met:
                    raise ValueError(
                        f"Concept Scene: {name} is on a model of several branches, but remembers one branch only, so that it "
                        "would mix them. Remove it."
                    )
                met.append(function)


def _keeps_a_record(function: Callable) -> str | None:
    """The name of a node of the host whose function does so."""
    module = getattr(function, "__module__", None) or ""
    if module.endswith("nodes_sag"):
        return "Self-Attention Guidance"
    if module.endswith("nodes_apg") and inspect.getclosurevars(function).nonlocals.get("momentum"):
        return "Adaptive Projected Guidance with momentum"
    return None


def _check_clones(one, other, number: int) -> None:
    """Refuse two versions of one loaded network that differ in its weights or parts: only one of them can be in place."""
    if one is other or one.model is not other.model:
        return
    same_weights = one.patches_uuid == other.patches_uuid or not (one.patches or other.patches)
    parts = one.object_patches.keys() == other.object_patches.keys() and all(
        one.object_patches[name] is other.object_patches[name] for name in one.object_patches
    )
    if not same_weights or not parts or one.injections.keys() != other.injections.keys():
        raise ValueError(
            f"Concept Scene: the model of concept {number} is another concept's or the scene's with other weights (a LoRA) or "
            "other sampling settings, and a loaded checkpoint can have only one version at a time. Load the checkpoint a second "
            "time for it, or apply the same LoRA to both."
        )
