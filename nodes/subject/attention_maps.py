"""How far the words for a subject are attended to where it is not (equation 2, in the balanced form that the authors train)."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def at_size(inside: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Of maps [..., H, W] in 0..1 the share of each of h x w cells that is inside, flat: [..., h * w]."""
    flat = F.adaptive_avg_pool2d(inside.flatten(0, -3)[:, None], (height, width))
    return flat.reshape(*inside.shape[:-2], height * width)


def balanced(shares: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """The mean attention outside of each subject less that inside, averaged over subjects and words: [B].

    shares: probabilities [B, K, words, L] of the words for K subjects. inside: [B, K, L] in 0..1. Departure from equation 2,
    which sums |CA - M|: an area's own size does not weigh. A part that is nowhere counts as 0.
    """
    inside = inside[:, :, None]
    outside = 1 - inside

    def mean(weights: torch.Tensor) -> torch.Tensor:
        return (shares * weights).sum(dim=-1) / weights.sum(dim=-1).clamp(min=1e-6)

    return (mean(outside) - mean(inside)).mean(dim=(1, 2))
