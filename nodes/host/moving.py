"""The sampler's own latents behind those that a guider is called on, for what moves latents before a step.

Under a noise mask the host calls the guider on latents that it makes of the sampler's, so that a move of these alone is lost.
"""

from __future__ import annotations

import copy
import functools
from dataclasses import dataclass

import torch

KEY = "same_subject_own_latents"
"""Where the `Own` of a step under a noise mask stands in the host's transformer options."""


@dataclass(eq=False)
class Own:
    """A sampler's latents [B, C, h, w], and the noise mask by which the guider's are made of them."""

    latents: torch.Tensor
    mask: torch.Tensor

    def move(self, x: torch.Tensor, by: torch.Tensor) -> None:
        """Take ``by``, a move of the guider's latents ``x``, from the sampler's where they are not masked, and from x so too."""
        own = by * self.mask
        self.latents -= own
        x -= own * self.mask

    def chunk(self, count: int) -> list[Own]:
        """Those of each branch, where the latents are a stack of ``count``."""
        return [Own(*parts) for parts in zip(self.latents.chunk(count), self.mask.chunk(count), strict=True)]


class Following:
    """The model that a sampler function calls, which tells the guider inside it of the `Own` latents."""

    def __init__(self, model):
        self.model = model

    def __getattr__(self, name: str):
        return getattr(self.model, name)

    def __call__(self, x, sigma, denoise_mask=None, model_options=None, **more):
        options = model_options or {}
        if denoise_mask is None:
            return self.model(x, sigma, denoise_mask=None, model_options=options, **more)
        own, function = Own(x, denoise_mask), options.get("denoise_mask_function")
        options = telling(options, own)
        if function is not None:

            def noted(*args, **kwargs) -> torch.Tensor:
                own.mask = function(*args, **kwargs)
                return own.mask

            options["denoise_mask_function"] = noted
        return self.model(x, sigma, denoise_mask=denoise_mask, model_options=options, **more)


def telling(model_options: dict, own: Own) -> dict:
    """A copy of the host's model options that tells of the sampler's latents."""
    return {**model_options, "transformer_options": {**model_options.get("transformer_options", {}), KEY: own}}


def can_move(sampler) -> bool:
    """Whether a guider is called on a sampler's latents, or on what `Following` sees made of them; uni_pc calls it on copies."""
    return not getattr(getattr(sampler, "sampler_function", None), "__name__", "").startswith("sample_unipc")


def following(sampler):
    """A copy of the host's ``sampler`` that tells its guider of its own latents; one without a function as it is."""
    function = getattr(sampler, "sampler_function", None)
    if function is None:
        return sampler

    @functools.wraps(function)
    def telling_of_them(model, *args, **kwargs):
        return function(Following(model), *args, **kwargs)

    result = copy.copy(sampler)
    result.sampler_function = telling_of_them
    return result
