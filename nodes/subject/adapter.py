"""The layer between self- and cross-attention that lets a block of the UNet look at subjects (section 3.3).

    x ← x + β · tanh(α_attn) · SA(LN([x; W h]))[: L]
    x ← x + β · tanh(α_dense) · FF(LN(x))

Only the picture's own tokens ask, so the keys and values of subjects do not depend on them, or on the step: they are made once a
run by `Layer.subjects`. Names of parameters are those of the authors' `fuser`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .tokens import Grounding, Perceptron

Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, int], torch.Tensor]
"""Attention of q, k, v, each [B, L, D], and a number of heads: [B, L, D]."""


@dataclass(frozen=True, eq=False)
class KeysValues:
    """What subjects show to one layer: two of [1 or B, tokens, D]."""

    keys: torch.Tensor
    values: torch.Tensor


class Gate(nn.Module):
    """The feed-forward's first half: a linear layer whose second half of channels gates the first."""

    def __init__(self, channels: int, inner: int, make):
        super().__init__()
        self.proj = make.Linear(channels, 2 * inner)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * nn.functional.gelu(gate)


class Feed(nn.Module):
    def __init__(self, channels: int, make):
        super().__init__()
        self.net = nn.ModuleList([Gate(channels, 4 * channels, make), nn.Identity(), make.Linear(4 * channels, channels)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for part in self.net:
            x = part(x)
        return x


class Projections(nn.Module):
    def __init__(self, channels: int, make):
        super().__init__()
        self.to_q, self.to_k, self.to_v = (make.Linear(channels, channels, bias=False) for _ in range(3))
        self.to_out = nn.ModuleList([make.Linear(channels, channels)])


class Layer(nn.Module):
    """One layer. channels: of the block. width: of subjects' tokens. heads: of its attention. make: as of `Networks`."""

    def __init__(self, channels: int, width: int, heads: int, make: Any = nn):
        super().__init__()
        self.heads = heads
        self.linear = make.Linear(width, channels)
        self.attn = Projections(channels, make)
        self.ff = Feed(channels, make)
        self.norm1, self.norm2 = make.LayerNorm(channels), make.LayerNorm(channels)
        self.alpha_attn, self.alpha_dense = (nn.Parameter(torch.zeros(())) for _ in range(2))

    def subjects(self, tokens: torch.Tensor) -> KeysValues:
        """What tokens [1 or B, count, width] of all subjects of each row show here, for a whole run."""
        shown = self.norm1(self.linear(tokens))
        return KeysValues(self.attn.to_k(shown), self.attn.to_v(shown))

    def forward(self, x: torch.Tensor, subjects: KeysValues, beta: float, attend: Attend) -> torch.Tensor:
        """x: [B, L, D], what self-attention gave; returns the same shape. beta: β, 0 gives ``x`` itself."""
        if not beta:
            return x
        own = self.norm1(x)
        keys, values = (
            torch.cat([project(own), shown.to(own).expand(len(x), -1, -1)], dim=1)
            for project, shown in ((self.attn.to_k, subjects.keys), (self.attn.to_v, subjects.values))
        )
        seen = self.attn.to_out[0](attend(self.attn.to_q(own), keys, values, self.heads))
        x = x + beta * self.alpha_attn.tanh().to(x) * seen
        return x + beta * self.alpha_dense.tanh().to(x) * self.ff(self.norm2(x))


class Texts(nn.Module):
    """The keys and values of a block's cross-attention as they were trained beside the layers. context: channels of a text."""

    def __init__(self, channels: int, context: int, make):
        super().__init__()
        self.to_k, self.to_v = (make.Linear(context, channels, bias=False) for _ in range(2))


@dataclass(frozen=True)
class Sizes:
    """Of the networks in a file. words: of each text encoder (a name of the host's, such as `l`) the width of its embeddings.

    cls, patch, patches: channels of the image encoder's embedding and patch tokens, and how many of these it gives. tokens:
    channels of subjects' tokens. context: of a text. layers: channels and heads of each block of the UNet, in its order. first:
    channels that its first convolution makes.
    """

    words: dict[str, int]
    cls: int
    patch: int
    patches: int
    tokens: int
    context: int
    layers: tuple[tuple[int, int], ...]
    first: int


LATENT = 4
"""Channels of the latents that the location channel is put beside."""


class Networks(nn.Module):
    """All that a file of Subject-Diffusion brings for a UNet and its prompts, but the text encoder itself.

    mlp: of each text encoder what turns a CLS embedding into a word's. conv_in: the UNet's first convolution with the location
    channel. make: what makes layers, torch.nn or a namespace like it whose layers take inputs of any dtype.
    """

    def __init__(self, sizes: Sizes, make: Any = nn):
        super().__init__()
        self.sizes = sizes
        self.mlp = nn.ModuleDict({name: Perceptron(sizes.cls, width, width, make) for name, width in sizes.words.items()})
        self.proj = Grounding(sizes.patch, sizes.tokens, sizes.patches, make)
        self.layers = nn.ModuleList([Layer(channels, sizes.tokens, heads, make) for channels, heads in sizes.layers])
        self.attn2 = nn.ModuleList([Texts(channels, sizes.context, make) for channels, _ in sizes.layers])
        self.conv_in = make.Conv2d(LATENT + 1, sizes.first, 3, padding=1)
