"""The projection of a face embedding to tokens: the Perceiver resampler of InstantID (`image_proj` of its file).

After IP-Adapter-FaceID's and InstantID's `Resampler`; parameter names are those of the published file.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

HEAD = 64
"""Channels of an attention head. The file does not tell it: all published resamplers have this."""


class Attention(nn.Module):
    """Latents attend to the embedding and to themselves. Parameters: norm1, norm2, to_q, to_kv (keys first), to_out."""

    def __init__(self, width: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_kv = nn.Linear(width, 2 * width, bias=False)
        self.to_out = nn.Linear(width, width, bias=False)

    def forward(self, x: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        x, latents = self.norm1(x), self.norm2(latents)
        k, v = self.to_kv(torch.cat((x, latents), dim=1)).chunk(2, dim=-1)
        q, k, v = (rearrange(part, "b l (heads d) -> b heads l d", d=HEAD) for part in (self.to_q(latents), k, v))
        return self.to_out(rearrange(F.scaled_dot_product_attention(q, k, v), "b heads l d -> b l (heads d)"))


class Resampler(nn.Module):
    """A face embedding [B, 1, ``embedding``] to [B, ``tokens``, ``output``]. Published: 512, 16, 2048; width 1280, depth 4."""

    def __init__(self, width: int, depth: int, tokens: int, embedding: int, output: int, inner: int):
        super().__init__()
        self.latents = nn.Parameter(torch.empty(1, tokens, width))
        self.proj_in = nn.Linear(embedding, width)
        self.layers = nn.ModuleList(nn.ModuleList((Attention(width), feed_forward(width, inner))) for _ in range(depth))
        self.proj_out = nn.Linear(width, output)
        self.norm_out = nn.LayerNorm(output)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        latents, x = self.latents.expand(len(x), -1, -1), self.proj_in(x)
        for layer in self.layers:
            attention, forward = cast(nn.ModuleList, layer)
            latents = latents + attention(x, latents)
            latents = latents + forward(latents)
        return self.norm_out(self.proj_out(latents))


def feed_forward(width: int, inner: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, inner, bias=False), nn.GELU(), nn.Linear(inner, width, bias=False))
