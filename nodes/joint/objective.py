"""JeDi's training objective on sets of pictures (equations 1 and 2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from .trained import EPS, V

Denoise = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(x [B, C or 2 C + 1, h, w], timestep [B]) -> the noise in it, or v, [B, C, h, w]: any model with its texts bound to it."""

MOST_WEIGHT = 20.0
"""Of the error of noise at the highest noise, where that of v counts 200 times."""


def sd_alphas_cumprod(steps: int = 1000, first: float = 0.00085, last: float = 0.012) -> torch.Tensor:
    """Stable Diffusion's noise schedule: the product of 1 - beta up to each step, [steps] in float64."""
    beta = torch.linspace(first**0.5, last**0.5, steps, dtype=torch.float64) ** 2
    return torch.cumprod(1 - beta, dim=0)


def reference_input(latents: torch.Tensor, missing: torch.Tensor) -> torch.Tensor:
    """Reference and mask channels of a JeDi model: x0 * (1 - M) and M (the supplement's listing).

    latents: clean latents [B, C, h, w]. missing: M, [B], 1 where a picture must be generated.
    Returns [B, C + 1, h, w]. Departure: equation 2 prints x * M; the listing and the text say 1 - M.
    """
    mask = missing.to(latents)[:, None, None, None]
    return torch.cat((latents * (1 - mask), mask.expand(-1, 1, *latents.shape[-2:])), dim=1)


def add_noise(latents: torch.Tensor, noise: torch.Tensor, alphas_cumprod: torch.Tensor) -> torch.Tensor:
    """x_t = sqrt(a) x0 + sqrt(1 - a) eps, for latents and noise [B, C, h, w] and a [B]."""
    a = alphas_cumprod.to(latents)[:, None, None, None]
    return a.sqrt() * latents + (1 - a).sqrt() * noise


def draw(sets: int, pictures: int, steps: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One draw of what equation 2 takes the expectation over, besides the noise.

    Returns timesteps [B] (one a set), missing [B] (Bernoulli(0.5), a row each) and captioned [B]
    (0 for a whole set with probability 0.1, so that guidance has a null text to start from).
    """
    timestep = torch.randint(steps, (sets,), generator=generator).repeat_interleave(pictures)
    missing = torch.bernoulli(torch.full((sets * pictures,), 0.5), generator=generator)
    captioned = (torch.rand(sets, generator=generator) >= 0.1).float().repeat_interleave(pictures)
    return timestep, missing, captioned


def high_timesteps(count: int, steps: int, generator: torch.Generator) -> torch.Tensor:
    """Timesteps [count] drawn in proportion to themselves."""
    return (torch.rand(count, generator=generator).sqrt() * steps).long()


@dataclass(frozen=True, eq=False)
class Batch:
    """Sets of pictures, and one draw of everything that equation 2 takes the expectation over.

    latents: clean, [B, C, h, w]. noise: like them, one epsilon a picture. alphas_cumprod, timestep: [B], one a set. missing:
    M, [B], 1 where a picture must be generated. captioned: [B], 0 where the set has no text.
    """

    latents: torch.Tensor
    noise: torch.Tensor
    alphas_cumprod: torch.Tensor
    timestep: torch.Tensor
    missing: torch.Tensor
    captioned: torch.Tensor

    def model_input(self, references: bool) -> torch.Tensor:
        """The noised latents [B, C, h, w], with ``references`` followed by `reference_input` [B, C + 1, h, w]."""
        noisy = add_noise(self.latents, self.noise, self.alphas_cumprod)
        return torch.cat((noisy, reference_input(self.latents, self.missing)), dim=1) if references else noisy


def draw_batch(
    latents: torch.Tensor, pictures: int, alphas_cumprod: torch.Tensor, generator: torch.Generator, high_noise: bool = False
) -> Batch:
    """A draw for sets of ``pictures`` pictures, latents [B, C, h, w]. alphas_cumprod: the schedule, [steps].

    high_noise: timesteps are drawn in proportion to themselves, a departure: looks are decided at the high ones.
    """
    sets, steps = latents.shape[0] // pictures, len(alphas_cumprod)
    timestep, missing, captioned = draw(sets, pictures, steps, generator)
    noise = torch.randn(latents.shape, generator=generator)
    if high_noise:
        timestep = high_timesteps(sets, steps, generator).repeat_interleave(pictures)
    return Batch(latents, noise, alphas_cumprod[timestep], timestep, missing, captioned)


def target(batch: Batch, prediction: str = EPS) -> torch.Tensor:
    """What a model shall predict, [B, C, h, w]: the noise, or v = sqrt(a) eps - sqrt(1 - a) x0 (Salimans and Ho, 2022)."""
    if prediction != V:
        return batch.noise
    a = batch.alphas_cumprod.to(batch.latents)[:, None, None, None]
    return a.sqrt() * batch.noise - (1 - a).sqrt() * batch.latents


def weights(batch: Batch, most: float, prediction: str = EPS) -> torch.Tensor:
    """Of each row, [B]: min-SNR's weight of the error of noise or v (Hang et al., 2023), where the SNR counts up to ``most``."""
    a = batch.alphas_cumprod.to(batch.latents)
    snr = a / (1 - a)
    return snr.clamp(max=most) / (snr + 1 if prediction == V else snr)


def high_noise_weights(alphas_cumprod: torch.Tensor, prediction: str = EPS) -> torch.Tensor:
    """Like ``alphas_cumprod``: weights with which errors of noise, or of v, count as much as those of v, up to MOST_WEIGHT."""
    weights = (1 / alphas_cumprod).clamp(max=MOST_WEIGHT)
    return weights * alphas_cumprod if prediction == V else weights


def loss(denoise: Denoise, batch: Batch, references: bool = True, prediction: str = EPS) -> torch.Tensor:
    """Equation 2, or with ``references`` False equation 1: the squared error of each row, [B], of what ``prediction`` says.

    Training minimises its mean over all rows: those that are given as references count, too.
    """
    predicted = denoise(batch.model_input(references), batch.timestep)
    return (predicted - target(batch, prediction)).square().mean(dim=(1, 2, 3))
