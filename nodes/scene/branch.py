"""One concept of a scene: what paints it, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..concepts.places import Concepts
from ..identity.placement import Placement
from ..joint.layout import JointSet

MOST_CONCEPTS = 16


@dataclass(frozen=True, eq=False)
class Branch:
    """A concept: CONDITIONING lists, and its model (a ModelPatcher; None is the background's).

    mask: [1 or B, H, W], 0 to 1, where it is in the picture; None if the scene knows. joint_set: of a model
    that went through JeDi: the scene's pictures are the set's generated rows. identity: who it is, beside what its
    model brings. cfg: its own scale of guidance; None is the sampler's. denoise: in which last share of the schedule it
    paints; before, the background paints its place.
    """

    positive: list
    negative: list
    model: object | None = None
    mask: torch.Tensor | None = None
    joint_set: JointSet | None = None
    identity: Placement | None = None
    cfg: float | None = None
    denoise: float = 1.0


def check_places(chain: Sequence[Branch], concepts: Concepts | None) -> None:
    """Raise unless each concept has exactly one place."""
    masked = [number for number, branch in enumerate(chain, 1) if branch.mask is not None]
    if concepts is None:
        bare = sorted(set(range(1, len(chain) + 1)) - set(masked))
        if bare:
            raise ValueError(
                f"Concept Scene: concept {bare[0]} has no place. Connect a `mask` to its Concept Branch, or `concepts` here."
            )
        return
    if masked:
        raise ValueError(
            f"Concept Scene: `concepts` is connected, but concept {masked[0]} has a mask too. Disconnect one of them; Concepts "
            "From Masks makes `concepts` of your own masks."
        )
    if len(concepts.phrases) != len(chain):
        raise ValueError(
            f"Concept Scene: `concepts` holds {len(concepts.phrases)} ({', '.join(concepts.phrases)}), but {len(chain)} Concept "
            "Branch nodes are chained. Chain one for each, in the same order."
        )
