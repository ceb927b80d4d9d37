"""Stage 2 of Multi-Concept Customization (Algorithm 1) and its blending (equation 8), on tensors and a callable.

Letters are the paper's: Z' the background's latents, Z^i a concept's, Z the blend, j the step, counted down to 0.
A list of latents or predictions always has the background first. Readings where the listing is silent:
- All Z^i start from the noise Z'_t that the background starts from.
- `M_BG Z_j` of equation 8 means M_BG Z'_j: Z_j is what is being defined there.
- f is the identity: soft edges are in the masks.
- The background is denoised once a step, not once for each concept, and always with P_init.
- S is counted from the end, as j is. The paper gives no value for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from ..concepts import masks as pipeline

BLEND, OWN, AUTO = "blend", "own", "auto"
CONTINUE_FROM = (BLEND, OWN, AUTO)
"""What concept branches continue from: one shared x, or each from its own Z^i (the listing).

Auto: own with S = all steps where the sampler can follow it, else blend.
"""

Predict = Callable[[list[torch.Tensor], torch.Tensor], Sequence[torch.Tensor]]
"""(K + 1 latents [B, C, h, w], noise level) -> K + 1 denoised predictions. May put moved latents into the list."""
Report = Callable[[int, torch.Tensor, torch.Tensor], None]
"""(step from 0, Z_{j+1}, blended denoised predictions)."""


def blend(latents: Sequence[torch.Tensor], blend_weights: torch.Tensor) -> torch.Tensor:
    """Equation 8: M_BG Z' + sum M_i Z^i. blend_weights: [K + 1, B or 1, 1, h, w], the background's first, summing to one."""
    total = latents[0] * blend_weights[0].to(latents[0])
    for latent, share in zip(latents[1:], blend_weights[1:], strict=True):
        total = total + latent * share.to(latent)
    return total


def euler_step(latent: torch.Tensor, denoised: torch.Tensor, sigma: torch.Tensor, sigma_next: torch.Tensor) -> torch.Tensor:
    """One deterministic step of a branch (DDIM in the variance-exploding form is the same step)."""
    return latent + (latent - denoised) / sigma * (sigma_next - sigma)


def multi_concept(
    predict: Predict,
    noise: torch.Tensor,
    sigmas: torch.Tensor,
    blend_weights: torch.Tensor,
    last_steps: int,
    report: Report | None = None,
    highest: Sequence[float] = (),
) -> torch.Tensor:
    """Algorithm 1, stage 2: Z_0 [B, C, h, w] from the noise Z'_t [B, C, h, w].

    sigmas: [t + 1], falling. blend_weights: as in `blend`. last_steps: S; in the last S steps (j < S) the background goes on
    from its own Z'_{j+1}, as stage 2 last wrote it, and before them from the blend Z_{j+1}. Concepts always go on
    from their own Z^i_{j+1}. highest: the noise level at which each concept begins, not in the paper: above it, it is what the
    background is. Empty for all from the start.
    """
    steps = len(sigmas) - 1
    background, concepts, blended = noise, [noise] * (len(blend_weights) - 1), noise
    highest = highest or [float("inf")] * len(concepts)
    for number in range(steps):
        j = steps - 1 - number
        if j >= last_steps:
            background = blended
        begun = [level == float("inf") or float(sigmas[number]) <= level for level in highest]
        latents = [background, *(own if acts else background for own, acts in zip(concepts, begun, strict=True))]
        denoised = predict(latents, sigmas[number])
        latents = [own if acts else latents[0] for own, acts in zip(latents, (True, *begun), strict=True)]
        if report is not None:
            report(number, blended, blend(denoised, blend_weights))
        latents = [euler_step(z, x0, sigmas[number], sigmas[number + 1]) for z, x0 in zip(latents, denoised, strict=True)]
        background, *concepts = latents
        blended = blend(latents, blend_weights)
    return blended


def blend_weights_of(masks: Sequence[torch.Tensor], rows: int, height: int, width: int, feather: float) -> torch.Tensor:
    """Blend weights [K + 1, rows or 1, 1, h, w] on the latent grid, the background's first, of one mask a concept.

    masks: K of [1 or rows, any height, any width], 0 to 1; sizes may differ. Where masks meet, the one that is
    listed first keeps its share and the others get what is left. feather: standard deviation of the blur, in latent
    pixels. Raises ValueError if a concept loses nearly all of its mask to others.
    """
    for number, mask in enumerate(masks, 1):
        if mask.shape[0] not in (1, rows):
            raise ValueError(
                f"Concept Scene: the mask of concept {number} has {mask.shape[0]} pictures, but the latent batch has {rows}. "
                f"Use a mask with 1 or {rows} pictures."
            )
    count = max(mask.shape[0] for mask in masks)
    # Shared out on the finest grid: at the latent's, two masks that end inside a latent pixel would seem to fit there.
    finest = [max(mask.shape[side] for mask in masks) for side in (1, 2)]
    even = [pipeline.area_average(mask.float().clamp(0, 1), *finest).expand(count, -1, -1) for mask in masks]
    pairs = []
    for own in torch.stack(even, dim=1):  # K, H, W of each picture
        shared = pipeline.disjoint(own, torch.zeros(len(masks), 1, 1, device=own.device))
        _check_shares(own, shared)
        pairs.append(pipeline.blend_weights(shared, height, width, feather))
    return background_first(*(torch.stack(parts) for parts in zip(*pairs, strict=True)))


def background_first(own: torch.Tensor, background: torch.Tensor) -> torch.Tensor:
    """M_i [B, K, h, w] and M_BG [B, 1, h, w] as `blend` takes them: [K + 1, B, 1, h, w]."""
    return torch.cat((background, own), dim=1).movedim(1, 0)[:, :, None]


def _check_shares(before: torch.Tensor, after: torch.Tensor) -> None:
    had, has = before.sum(dim=(1, 2)), after.sum(dim=(1, 2))
    for number in ((had > 0) & (has < pipeline.LEAST_LEFT * had)).nonzero().flatten().tolist():
        raise ValueError(
            f"Concept Scene: the mask of concept {number + 1} lies almost wholly inside masks that are listed before it: "
            f"{has[number] / had[number]:.1%} of it would be left, but at least {pipeline.LEAST_LEFT:.0%} is needed. Move its "
            "Concept Branch to the front of the chain, or give masks that do not overlap."
        )
