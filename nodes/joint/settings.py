"""What a user chose on the nodes `JeDi` and `JeDi Options`."""

from __future__ import annotations

from dataclasses import dataclass

from . import guidance

LEVELS = ("full", "half", "quarter", "eighth")
"""Resolutions of the UNet's attention layers as a share of the latent's: level i is 1 / 2**i."""

ALL_PICTURES, REFERENCES_ONLY, ITSELF_ONLY = "all pictures", "references only", "itself only"
REFERENCE_ATTENTIONS = (ALL_PICTURES, REFERENCES_ONLY, ITSELF_ONLY)
ISOLATED, LITERAL = "isolated", "literal"
AUTO = "auto"
OFF, GIVEN = "off", "given"
LINEAR, EARLY, LATE = "linear", "early", "late"
CURVES = (LINEAR, EARLY, LATE)
"""When a strength that changes over the schedule does most of that: evenly, at first, or at last."""
MASKS = (OFF, GIVEN, AUTO)
"""Whether a reference shows only its subject: not at all, where a mask was given, or always, with masks found by the model."""
PAPER, STRONG = "paper", "strong"
RECIPES = (PAPER, AUTO, STRONG)
"""As published; that for models trained on sets and the next for others; what was found best without training."""
EACH_PICTURE, WHOLE_BATCH = "each picture", "whole batch"
STEP_NOISES = (EACH_PICTURE, WHOLE_BATCH)
"""What noise that a sampler adds at its steps is drawn for; the first is what a new node has, the second what 0.1.0 did."""
CHANNEL_ORDERS = ("noisy, reference, mask", "noisy, mask, reference")
"""Input channels of a 9-channel UNet: the order of the paper's listing, and that of Stable Diffusion inpainting."""


@dataclass(frozen=True)
class Options:
    """The node `JeDi Options`. Percentages are shares of the schedule in 0..1, 0 = pure noise.

    coupling_start, coupling_end: when attention is coupled. levels: at which of LEVELS.
    reference_attention: what reference rows attend to. null_references: what a reference-free term
    is. channel_order: one of CHANNEL_ORDERS, or AUTO for what the model's file says. subject_masks: one of MASKS.
    reference_strength: how often each token of a reference counts, beside the reference's own strength. reference_noise: the
    noise level of reference rows as a share of the pictures'. style_fidelity: how much
    of the references a reference-free term leaves out, 1 is all. color_match: how far the subject's colours go, see
    `matching.match_colors`. bank: MiB for keys and values of references that are kept from one run to the next, where
    references do not see generated rows; 0 keeps none. reference_levels: how many noise levels reference rows take, see
    `sharing.at_levels`; 0 follows the schedule.
    """

    coupling_start: float = 0.0
    coupling_end: float = 1.0
    levels: frozenset[str] = frozenset(LEVELS)
    reference_attention: str = ALL_PICTURES
    null_references: str = ISOLATED
    channel_order: str = AUTO
    subject_masks: str = OFF
    reference_strength: float = 1.0
    reference_noise: float = 1.0
    style_fidelity: float = 1.0
    color_match: float = 0.0
    strength_start: float = 1.0
    strength_end: float = 1.0
    strength_curve: str = LINEAR
    level_strengths: tuple[float, ...] = (1.0,) * len(LEVELS)
    bank: int = 0
    reference_levels: int = 0

    @property
    def steady(self) -> bool:
        """Whether references have one strength at all steps and levels."""
        return {self.strength_start, self.strength_end, *self.level_strengths} == {1.0}

    def strengths_at(self, share: float) -> dict[str, float]:
        """Of each level, by how much references' strengths are multiplied at a ``share`` of the schedule."""
        gone = {LINEAR: share, EARLY: 1 - (1 - share) ** 2, LATE: share**2}[self.strength_curve]
        factor = self.strength_start + (self.strength_end - self.strength_start) * gone
        return {level: factor * own for level, own in zip(LEVELS, self.level_strengths, strict=True)}


TRAINING_FREE = Options(
    reference_attention=ITSELF_ONLY,
    subject_masks=AUTO,
    reference_strength=3.0,
    reference_noise=0.6,
    color_match=0.8,
)
"""The best found for a model that was never trained on sets and one reference, on drawn subjects that no figure is given for.

Several references share the strength, see `sets.options_of`.
"""


@dataclass(frozen=True)
class Settings:
    """The node `JeDi`: the guidance mode, its image scale, when image guidance is active (0..1), and the references' strength.

    step_noise: one of STEP_NOISES.
    """

    mode: str = guidance.JOINT
    image_scale: float = 5.0
    start: float = 0.0
    end: float = 1.0
    options: Options = Options()
    strength: float = 1.0
    step_noise: str = WHOLE_BATCH
