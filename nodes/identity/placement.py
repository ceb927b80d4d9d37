"""Where, when and how strongly identities act on a picture, and what that adds to a cross-attention layer.

InstantID: out = Attention(q, K_text, V_text) + strength * Attention(q, K_face, V_face), before the layer's output projection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange

from ..joint.coupling import Attend
from .adapter import KeysValues


@dataclass(frozen=True, eq=False)
class Projection:
    """One identity as the UNet and the ControlNet take it.

    tokens, null_tokens: [F, width] of the face, and of no face. present, absent: their keys and values.
    """

    tokens: torch.Tensor
    null_tokens: torch.Tensor
    present: KeysValues
    absent: KeysValues


@dataclass(frozen=True, eq=False)
class Placement:
    """An identity on a model. mask: [P, H, W] in 0..1, 1 = acts here, one for all rows or one a row (in turn), or None.

    start, end: shares of the schedule in 0..1, 0 = pure noise.
    """

    projection: Projection
    strength: float
    mask: torch.Tensor | None = None
    start: float = 0.0
    end: float = 1.0

    def keys_values(self, present: bool) -> KeysValues:
        return self.projection.present if present else self.projection.absent


def shares(placement: Placement, rows: Sequence[int], height: int, width: int) -> torch.Tensor:
    """The strength at every token of a layer of ``height`` by ``width``: [B, L, 1], or [B, 1, 1] without a mask.

    rows: B numbers of rows of the whole batch, from 0. Masks are averaged over the pixels that a token stands for.
    """
    if placement.mask is None:
        return torch.full((len(rows), 1, 1), float(placement.strength))
    mask = F.interpolate(placement.mask[:, None].float(), (height, width), mode="area")
    mask = rearrange(mask, "p 1 h w -> p (h w) 1") * placement.strength
    return mask[torch.tensor(rows) % len(mask)]


def add_identities(
    out: torch.Tensor,
    q: torch.Tensor,
    faces: Sequence[tuple[torch.Tensor, torch.Tensor, torch.Tensor]],
    attend: Attend,
) -> torch.Tensor:
    """What a layer gives with identities: ``out`` [B, L, D], its attention to the text, plus each face's share.

    faces: for each identity its keys and values [B, F, D] and its strengths, broadcast to [B, L, 1].
    """
    for k, v, strength in faces:
        out = out + strength * attend(q, k, v)
    return out
