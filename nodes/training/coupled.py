"""Self-attention across a set while a UNet of the host is trained, by any kernel that has a gradient."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F

from ..joint import coupling

BLOCKS = [(name, number) for name in ("input", "middle", "output") for number in range(12)]
"""All that a UNet may have, alike: where activations are computed again, the host names a layer's block as the last one's."""
SHORT = 512
"""Tokens up to which attention is written out on a CPU, where the fused kernel is slower."""


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int) -> torch.Tensor:
    """Attention of queries [B, L, D] to keys and values [B, T, D], heads folded into D."""
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
    if q.device.type == "cpu" and q.shape[2] <= SHORT:
        shares = (q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2)).softmax(dim=-1)
        return (shares.to(v.dtype) @ v).transpose(1, 2).flatten(2)
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def options(pictures: int) -> dict:
    """The host's transformer options that couple the self-attention of every ``pictures`` rows in all blocks."""

    def coupled(q, k, v, extra_options):
        return coupling.couple(q, k, v, pictures, partial(attend, heads=extra_options["n_heads"]))

    def cross(q, k, v, extra_options):
        return attend(q, k, v, extra_options["n_heads"])

    return {"patches_replace": {"attn1": dict.fromkeys(BLOCKS, coupled), "attn2": dict.fromkeys(BLOCKS, cross)}}
