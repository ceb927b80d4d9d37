"""What a user chose on the nodes `JeDi` and `JeDi Options`."""

from __future__ import annotations

from dataclasses import dataclass

from . import guidance

LEVELS = ("full", "half", "quarter", "eighth")
"""Resolutions of the UNet's attention layers as a share of the latent's: level i is 1 / 2**i."""

ALL_PICTURES, REFERENCES_ONLY = "all pictures", "references only"
ISOLATED, LITERAL = "isolated", "literal"
AUTO = "auto"
CHANNEL_ORDERS = ("noisy, reference, mask", "noisy, mask, reference")
"""Input channels of a 9-channel UNet: the order of the paper's listing, and that of Stable Diffusion inpainting."""


@dataclass(frozen=True)
class Options:
    """The node `JeDi Options`. Percentages are shares of the schedule in 0..1, 0 = pure noise.

    coupling_start, coupling_end: when attention is coupled. levels: at which of LEVELS.
    reference_attention: what reference rows attend to. null_references: what a reference-free term
    is. channel_order: one of CHANNEL_ORDERS, or AUTO for what the model's file says.
    """

    coupling_start: float = 0.0
    coupling_end: float = 1.0
    levels: frozenset[str] = frozenset(LEVELS)
    reference_attention: str = ALL_PICTURES
    null_references: str = ISOLATED
    channel_order: str = AUTO


@dataclass(frozen=True)
class Settings:
    """The node `JeDi`: the guidance mode, its image scale, and when image guidance is active (0..1)."""

    mode: str = guidance.JOINT
    image_scale: float = 5.0
    start: float = 0.0
    end: float = 1.0
    options: Options = Options()
