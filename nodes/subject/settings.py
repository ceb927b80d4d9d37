"""What a user chose of a run with subjects."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..joint.settings import LEVELS


@dataclass(frozen=True)
class Steering:
    """Attention control. steps: how many of the first it acts before. scale: how far latents are moved. stop: the loss at which
    they are not.
    """

    steps: int = 0
    scale: float = 20.0
    stop: float = -1.0


@dataclass(frozen=True)
class Settings:
    """image_scale: of three-branch guidance. strength: β. start, end: when the layers act, in shares of the schedule.

    levels: at which of LEVELS. interpolation: α, the share of the schedule, at its end, without subjects.
    """

    image_scale: float = 1.5
    strength: float = 1.0
    start: float = 0.0
    end: float = 1.0
    levels: frozenset[str] = frozenset(LEVELS)
    interpolation: float = 0.0
    steering: Steering = field(default_factory=Steering)
