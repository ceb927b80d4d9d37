"""The host's attention kernel, as its own layers call it."""

from __future__ import annotations

import functools

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


def attend_with_sums(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Attention as `attend`, and the logarithm of each query's sum of exponentials, [B, heads, L]; None where none says it.

    By torch's own kernels, whatever the host's is: with the sums, attention to two lots of keys is known from that to each.
    """
    width = q.shape[-1] // heads
    if not _says_sums(q.device, q.dtype, width):
        return None
    out, sums = _with_sums(*(x.unflatten(-1, (heads, width)).transpose(1, 2) for x in (q, k, v)))
    return out.transpose(1, 2).flatten(2), sums


@functools.cache
def _says_sums(device: torch.device, dtype: torch.dtype, width: int) -> bool:
    """Whether torch has such a kernel here, by a trial: it is none of torch's documented functions."""
    flash = dtype in (torch.float16, torch.bfloat16) and width % 8 == 0 and width <= 256
    if device.type != "cpu" and not (device.type == "cuda" and flash):
        return False
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 3, length, width, generator=generator).to(device, dtype) for length in (40, 24, 24))
    try:
        out, sums = _with_sums(q, k, v)
    except (RuntimeError, AttributeError, TypeError, ValueError):
        return False
    scores = (q.double() @ k.double().mT) / width**0.5
    wanted = scores.softmax(dim=-1) @ v.double()
    return sums.shape == (2, 3, 40) and all(
        bool((found.double() - right).abs().max() < 0.02) for found, right in ((out, wanted), (sums, scores.logsumexp(dim=-1)))
    )


def _with_sums(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of [B, heads, L, width]."""
    aten = torch.ops.aten
    kernel = (
        aten._scaled_dot_product_flash_attention_for_cpu if q.device.type == "cpu" else aten._scaled_dot_product_flash_attention
    )
    out, sums, *_ = kernel(q, k, v)
    return out, sums
