"""What a user chooses of a training on sets."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

FULL, LORA, LOHA, LOKR = "full", "LoRA", "LoHa", "LoKr"
METHODS = (LORA, LOHA, LOKR, FULL)
"""What is trained: factors beside weights, in the forms that the host knows, or all weights."""
ATTENTION, ALL = "attention", "all"
LAYERS = (ATTENTION, ALL)
"""What factors stand beside: the layers of attention and feed-forward, or every linear layer and convolution but the first."""
MOST_PICTURES = 4
"""Of a set (section 3.2)."""

SEEN = 0.5
"""With a head start, what the weights of a reference begin as: this share of those of the noisy picture, in place of zero."""


@dataclass(frozen=True)
class Settings:
    """method: one of METHODS. rank: of factors; of LoKr its factor. layers: one of LAYERS. strength: what factors are multiplied
    by (alpha / rank).

    references: whether the model gets channels for references, or only learns to look at the others of a set. rows: pictures of a
    step, at least one set. sizes: how often sets of 1, 2, 3 and 4 pictures are, as far as a set has so many; the paper's are sets
    of 2 to 4, alike, and single pictures where there is one. side: pixels; pictures have an area of side * side. buckets:
    whether they keep their aspect, about; else they are square. snr: most weight that min-SNR gives (Hang et al., 2023), 0 leaves
    all alike. head_start: three departures from the paper for short runs: the model sees references from the first step, by SEEN;
    timesteps are drawn in proportion to themselves, and errors weigh as those of v do. saving: whether activations are computed
    again for the gradient, to save memory. warm_up: steps in which the rate rises, at most a tenth of all. data: what it is
    trained on, in words, for people.
    """

    method: str = LORA
    rank: int = 16
    layers: str = ALL
    strength: float = 1.0
    references: bool = True
    steps: int = 1000
    rate: float = 1e-4
    seed: int = 0
    rows: int = 4
    sizes: tuple[float, ...] = (0.0, 1.0, 1.0, 1.0)
    side: int = 512
    buckets: bool = False
    snr: float = 0.0
    head_start: bool = False
    saving: bool = False
    optimiser: str = "adamw"
    every: int = 200
    decay: float = 0.998
    warm_up: int = 100
    data: str = ""

    def __post_init__(self):
        if self.method not in METHODS:
            raise ValueError(f"Training: the method is `{self.method}`, but needs to be one of {', '.join(METHODS)}.")
        if self.layers not in LAYERS:
            raise ValueError(f"Training: the layers are `{self.layers}`, but need to be one of {', '.join(LAYERS)}.")
        for name, value, least in (
            ("rank", self.rank, 1),
            ("rows", self.rows, 1),
            ("steps", self.steps, 1),
            ("side", self.side, 8),
        ):
            if value < least:
                raise ValueError(f"Training: `{name}` is {value}, but needs to be at least {least}.")
        if not (math.isfinite(self.rate) and self.rate > 0):
            raise ValueError(f"Training: the rate is {self.rate}, but needs to be a number above 0, such as 0.0001.")
        if not 1 <= len(self.sizes) <= MOST_PICTURES or min(self.sizes) < 0 or not sum(self.sizes):
            raise ValueError(
                f"Training: the sizes of sets are {self.sizes}, but need to be up to {MOST_PICTURES} shares, of sets of 1, 2, 3 "
                "and 4 pictures, such as 0, 1, 1, 1."
            )

    @property
    def lasting(self) -> dict[str, str]:
        """What a run cannot change when it goes on, by name."""
        later = ("steps", "rate", "saving", "every", "data", "warm_up", "decay")
        return {field.name: str(getattr(self, field.name)) for field in fields(self) if field.name not in later}

    @property
    def set_sizes(self) -> tuple[int, ...]:
        """Sizes of sets that can be met."""
        return tuple(number for number, share in enumerate(self.sizes, 1) if share or number == 1)

    def shares(self, pictures: int) -> tuple[float, ...]:
        """How often a set that has ``pictures`` is taken as one of 1, 2, ...; where none of `sizes` fits, as a whole."""
        most = min(pictures, len(self.sizes))
        shares = self.sizes[:most]
        if not sum(shares):
            return (*(0.0,) * (most - 1), 1.0)
        weighed = [share * self.sets(number) for number, share in enumerate(shares, 1)]
        return tuple(share / sum(weighed) for share in weighed)

    def sets(self, pictures: int) -> int:
        """Sets of a step, each of so many ``pictures``."""
        return max(1, self.rows // pictures)
