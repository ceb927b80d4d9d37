"""Python objects that ride along with conditioning: the model gets one for each chunk of a batch.

Unlike tensors they can be read without waiting for the device, and they survive the host's batching,
memory splits and copies of area conditioning.
"""

from __future__ import annotations

import uuid
from typing import Any

import comfy.conds

NULL_TERMS = ("negative", "empty_negative_prompt")
"""The host's guiders' names for the conditioning that is steered away from."""


def is_null(name: str, entry: dict) -> bool:
    """Whether an entry of the guider's conditioning called ``name`` is steered away from, also one that was put `beside` it."""
    return entry.get("prompt_type", name) in NULL_TERMS


class ChunkTag(comfy.conds.CONDRegular):
    """Model conditioning whose batch is a tuple: ``cond`` of every chunk, in the order of the batch."""

    def process_cond(self, batch_size: int, **kwargs) -> ChunkTag:
        return self

    def can_concat(self, other: ChunkTag) -> bool:
        return True

    def concat(self, others: list[ChunkTag]) -> tuple:
        return (self.cond, *(other.cond for other in others))

    def size(self) -> list[int]:
        return [1]


def tagged(entry: dict, key: str, value: Any) -> dict:
    """A copy of a conditioning entry whose chunk of the batch carries ``value`` under ``key``."""
    return {**entry, "model_conds": {**entry.get("model_conds", {}), key: ChunkTag(value)}}


def beside(entry: dict, prompt_type: str) -> dict:
    """A copy of an entry that the host can tell apart; it names conditioning after its key in the guider unless told."""
    return {"prompt_type": prompt_type, **entry, "uuid": uuid.uuid4()}
