"""How a demo model's file keeps its weights small, and how they become whole again.

A table of words keeps the rows that were trained: its rows [kept, D] and, under `<name>.rows`, their numbers [kept]; the
others are zero. A weight in 8 bits, int8 [outputs, ...], has its scale [outputs] under `<name>.scale`. Everything else is
stored as it is.
"""

from __future__ import annotations

import torch

from ..subject.files import ROWS, spread

WORDS = "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"
SCALE = ".scale"


def whole(state: dict[str, torch.Tensor], words: int) -> dict[str, torch.Tensor]:
    """The weights in float32, by their own names. words: rows of a whole table. Raises ValueError if a form is not sound."""
    found = {}
    for name, value in state.items():
        if name + ROWS in state:
            value = spread(name, value, state[name + ROWS], words)
        if name + SCALE in state:
            value = scaled(name, value, state[name + SCALE])
        found[name] = value.float()
    beside = {name + ending for name in state for ending in (ROWS, SCALE)}
    return {name: value for name, value in found.items() if name not in beside}


def scaled(name: str, weight: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """A weight [outputs, ...] of 8 bits times its scale [outputs]."""
    if weight.dtype != torch.int8 or scale.shape != weight.shape[:1]:
        raise ValueError(f"`{name}` ({weight.dtype}, {tuple(weight.shape)}) does not fit its scale ({tuple(scale.shape)})")
    return weight.float() * scale.float().view(-1, *[1] * (weight.ndim - 1))
