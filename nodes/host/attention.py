"""The host's attention kernel, as its own layers call it."""

from __future__ import annotations

import comfy.ldm.modules.attention
import torch


def attend(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, extra_options: dict, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Queries [B, L, D] to keys and values: [B, L, D] of pictures, [B, T, D] of a text or [B, F, D] of a face.

    Heads are folded into D. extra_options: what the host gave the layer. bias: what is added to the logits of each key, [keys].
    """
    mask = None if bias is None else bias.to(q).expand(1, q.shape[1], -1)
    return comfy.ldm.modules.attention.optimized_attention(
        q,
        k,
        v,
        extra_options["n_heads"],
        mask=mask,
        attn_precision=extra_options["attn_precision"],
        transformer_options=extra_options,
    )
