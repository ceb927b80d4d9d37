"""Noise that ancestral and SDE samplers add at their steps, drawn for each picture by itself.

The host draws it for the whole batch from one generator, so that a picture's noise changes with the pictures beside it.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable

import torch
from comfy.k_diffusion.sampling import BrownianTreeNoiseSampler

from ..layout import Layout, seed_of

BROWNIAN = ("sample_dpmpp_sde", "sample_dpmpp_2m_sde", "sample_dpmpp_2m_sde_heun", "sample_dpmpp_3m_sde")
"""Samplers whose noise is one Brownian path, because they ask for it over intervals that overlap; and the same with `_gpu`."""
NoiseSampler = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Standard normal noise [B, C, h, w] of the step from one noise level to another."""


def for_rows(sampler, layout: Layout):
    """A copy of the host's ``sampler`` whose noise at each step depends on its seed and on a row's own number only.

    A sampler that takes no `noise_sampler`, or has one of its own, is given back as it is.
    """
    function = getattr(sampler, "sampler_function", None)
    if function is None or "noise_sampler" in sampler.extra_options or not _takes_noise(function):
        return sampler

    @functools.wraps(function)
    def with_noise(model, x, sigmas, *args, extra_args=None, **options):
        seed = (extra_args or {}).get("seed")
        if seed is not None and len(sigmas) > 1:
            options["noise_sampler"] = noise_of(function.__name__, x, sigmas, seed, layout)
        return function(model, x, sigmas, *args, extra_args=extra_args, **options)

    result = copy.copy(sampler)
    result.sampler_function = with_noise
    return result


def noise_of(name: str, x: torch.Tensor, sigmas: torch.Tensor, seed: int, layout: Layout) -> NoiseSampler:
    """Noise for the sampler function ``name`` on latents ``x`` [B, C, h, w]; a row's is drawn from ``seed`` and its number.

    The number is that of its noise at the start (`Layout.noise_index`); a reference has the one of its set's first picture,
    and its noise is not used. Drawn on the CPU, but by the samplers that end with `_gpu`, as the host's are.
    """
    numbers = list(dict.fromkeys(layout.noise_index))
    rows = [numbers.index(number) for number in layout.noise_index]
    seeds = [seed_of(seed, number, "step") for number in numbers]
    if name.removesuffix("_gpu") not in BROWNIAN:
        generators = [torch.Generator().manual_seed(one) for one in seeds]
        return lambda *_: torch.stack([torch.randn(x.shape[1:], generator=one) for one in generators])[rows].to(x)
    levels = sigmas[sigmas > 0]
    path = BrownianTreeNoiseSampler(x[: len(seeds)], levels.min(), sigmas.max(), seeds, cpu=not name.endswith("_gpu"))
    return lambda sigma, sigma_next: path(sigma, sigma_next)[rows]


def _takes_noise(function: Callable) -> bool:
    """Whether a sampler function takes a `noise_sampler`, by name or, as the host's own wrappers do, among other options."""
    parameters = inspect.signature(function).parameters.values()
    handed_on = function.__module__ == "comfy.samplers" and any(one.kind is one.VAR_KEYWORD for one in parameters)
    return handed_on or any(one.name == "noise_sampler" for one in parameters)
