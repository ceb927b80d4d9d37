"""Algorithm 1 as it is listed, in the place of the host's euler and ddim: each branch keeps its own latents."""

from __future__ import annotations

from collections.abc import Sequence

import comfy.model_management
import comfy.samplers
import torch
from comfy.k_diffusion import sampling as k_diffusion

from ...host import moving
from .. import blending

STACKED = "same_subject_stacked"
"""In the host's transformer options: the guider's x is a stack of the latents of all branches, [(K + 1) B, C, h, w]."""


def can_follow(sampler) -> bool:
    """Whether a sampler of the host steps as Algorithm 1 does: euler and ddim, without churn."""
    plain = isinstance(sampler, comfy.samplers.KSAMPLER) and sampler.sampler_function is k_diffusion.sample_euler
    return plain and sampler.extra_options.get("s_churn", 0) <= 0


def algorithm_1(sampler, blend_weights: torch.Tensor, last_steps: int, highest: Sequence[float] = ()) -> comfy.samplers.KSAMPLER:
    """Euler or DDIM of the host as a sampler that runs Algorithm 1 as it is listed. Raises for any other sampler.

    blend_weights: [K + 1, B or 1, 1, h, w], the background's first. last_steps: S. highest: of `blending.multi_concept`.
    """
    if not can_follow(sampler):
        name = getattr(getattr(sampler, "sampler_function", sampler), "__name__", type(sampler).__name__)
        raise ValueError(
            f"Concept Scene: `continue_from` is `own`, which moves latents between steps, but the sampler is "
            f"{name.removeprefix('sample_')}, which cannot follow that. Use euler or ddim without churn, or set `continue_from` "
            "to `blend`."
        )
    count = len(blend_weights)

    def sample(model, x, sigmas, extra_args=None, callback=None, disable=None, **_):
        wide = comfy.samplers.KSamplerX0Inpaint(model.inner_model, model.sigmas)
        wide.noise = model.noise.repeat(count, 1, 1, 1)
        wide.latent_image = None if model.latent_image is None else model.latent_image.repeat(count, 1, 1, 1)
        followed, options = moving.Following(wide), extra_args["model_options"]
        options = {**options, "transformer_options": {**options.get("transformer_options", {}), STACKED: True}}
        mask = extra_args.get("denoise_mask")
        mask = None if mask is None else mask.repeat(count, 1, 1, 1)

        def predict(latents: list[torch.Tensor], sigma: torch.Tensor) -> Sequence[torch.Tensor]:
            stack = torch.cat(latents)
            sigma, seed = sigma * stack.new_ones(len(stack)), extra_args.get("seed")
            denoised = followed(stack, sigma, denoise_mask=mask, model_options=options, seed=seed)
            latents[:] = stack.chunk(count)  # a branch may have moved its own, in their place
            return denoised.chunk(count)

        def report(number: int, blended: torch.Tensor, denoised: torch.Tensor) -> None:
            comfy.model_management.throw_exception_if_processing_interrupted()
            if callback is not None:
                now = {"i": number, "sigma": sigmas[number], "sigma_hat": sigmas[number]}
                callback({**now, "x": blended, "denoised": denoised})

        return blending.multi_concept(predict, x, sigmas, blend_weights, last_steps, report, highest)

    return comfy.samplers.KSAMPLER(sample, {}, sampler.inpaint_options)
