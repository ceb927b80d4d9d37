"""Image guidance (JeDi, equations 3 and 4).

Every prediction may be given as noise, as denoised picture or in any other affine form: the factors of
the terms sum to one. The letters are the paper's: e0 has null text and null references, e1 keeps
one of the two, e keeps both.
"""

from __future__ import annotations

import torch

JOINT, TEXT_FIRST, IMAGE_FIRST, TEXT_ONLY = "joint", "text first", "image first", "text only"
MODES = (JOINT, TEXT_FIRST, IMAGE_FIRST, TEXT_ONLY)
THREE_TERMS = (TEXT_FIRST, IMAGE_FIRST)
"""Modes that have e1 beside e0 and e."""


def scales(mode: str, text_scale: float, image_scale: float) -> tuple[float, float]:
    """The two scales of equation 4, (lambda_1, lambda_2), for a mode.

    Text first: e1 = text without references, so lambda_1 is the text scale and lambda_2 the image
    scale (favours the subject). Image first: e1 = references with null text, the other way round
    (favours the text). The supplement's "respectively" names them the other way; table 6 decides.
    Joint and text only have one scale, which the host's sampler holds as its cfg.
    """
    if mode == TEXT_FIRST:
        return text_scale, image_scale
    if mode == IMAGE_FIRST:
        return image_scale, text_scale
    return text_scale, text_scale


def needs_partial(mode: str, text_scale: float, image_scale: float) -> bool:
    """Whether e1 has a factor: at equal scales equation 4 is equation 3."""
    return mode in THREE_TERMS and text_scale != image_scale


def partial_number(mode: str) -> int:
    """What e1 is to nodes that know two terms, conditional (0) and unconditional (1): it is where its text is."""
    return 0 if mode == TEXT_FIRST else 1


def guide(e0: torch.Tensor, e1: torch.Tensor, e: torch.Tensor, first: float, second: float) -> torch.Tensor:
    """Equation 4: e0 + lambda_1 (e1 - e0) + lambda_2 (e - e1)."""
    return e0 + first * (e1 - e0) + second * (e - e1)


def as_conditional(
    e0: torch.Tensor, e1: torch.Tensor, e: torch.Tensor, first: float, second: float, scale: float
) -> torch.Tensor:
    """The conditional c for which plain guidance e0 + scale (c - e0) is equation 4. ``scale`` is not 0.

    Lets a node that changes plain guidance (APG, Rescale CFG) change this one too, all its terms alike.
    """
    return e0 + (first * (e1 - e0) + second * (e - e1)) / scale
