"""JeDi's training objective on sets of pictures (equations 1 and 2).

Axis legend: S sets, N pictures in a set, B = S * N rows (set-major), C H W latent.
"""

from __future__ import annotations

import torch


def sd_alphas_cumprod(steps: int = 1000, first: float = 0.00085, last: float = 0.012) -> torch.Tensor:
    """Stable Diffusion's noise schedule: the product of 1 - beta up to each step, [steps] in float64."""
    beta = torch.linspace(first**0.5, last**0.5, steps, dtype=torch.float64) ** 2
    return torch.cumprod(1 - beta, dim=0)


def reference_input(latents: torch.Tensor, missing: torch.Tensor) -> torch.Tensor:
    """Reference and mask channels of a JeDi model: x0 * (1 - M) and M (the supplement's listing).

    latents: clean latents [B, C, H, W]. missing: M, [B], 1 where a picture must be generated.
    Returns [B, C + 1, H, W]. Departure: equation 2 prints x * M; the listing and the text say 1 - M.
    """
    mask = missing.to(latents)[:, None, None, None]
    return torch.cat((latents * (1 - mask), mask.expand(-1, 1, *latents.shape[-2:])), dim=1)


def add_noise(latents: torch.Tensor, noise: torch.Tensor, alphas_cumprod: torch.Tensor) -> torch.Tensor:
    """x_t = sqrt(a) x0 + sqrt(1 - a) eps, for latents and noise [B, C, H, W] and a [B]."""
    a = alphas_cumprod.to(latents)[:, None, None, None]
    return a.sqrt() * latents + (1 - a).sqrt() * noise


def draw(sets: int, pictures: int, steps: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One draw of what equation 2 takes the expectation over, besides the noise.

    Returns timesteps [B] (one a set), missing [B] (Bernoulli(0.5), a row each) and caption-kept [B]
    (0 for a whole set with probability 0.1, so that guidance has a null text to start from).
    """
    timestep = torch.randint(steps, (sets,), generator=generator).repeat_interleave(pictures)
    missing = torch.bernoulli(torch.full((sets * pictures,), 0.5), generator=generator)
    kept = (torch.rand(sets, generator=generator) >= 0.1).float().repeat_interleave(pictures)
    return timestep, missing, kept
