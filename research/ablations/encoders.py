"""Image encoders of the baselines: tokens of a reference that stand behind those of the text, in one cross-attention."""

from __future__ import annotations

import torch
from torch import nn

from .. import image_encoder, nets, world
from .arms import CLIP, Arm

WIDTH = nets.UNET["context_dim"]
SIDE = world.SIZE // nets.FACTOR // 2


class Shown(nn.Module):
    """What a reference is to a text: tokens [B, T, WIDTH] that a subclass reads off it, or trained ones where there is none."""

    def __init__(self, tokens: int):
        super().__init__()
        self.absent = nn.Parameter(0.02 * torch.randn(1, tokens, WIDTH))
        self.norm = nn.LayerNorm(WIDTH)

    def read(self, seen: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def forward(self, seen: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
        """seen: what the encoder takes, [B, ...]. given: bool [B]."""
        return torch.where(given[:, None, None], self.norm(self.read(seen)), self.absent)


class Embedded(Shown):
    """A token from the embedding [B, E] of an encoder that stays as it is, as the paper's CLIP baseline has it."""

    def __init__(self):
        super().__init__(1)
        self.project = nn.Linear(image_encoder.CONFIG["projection_dim"], WIDTH)

    def read(self, seen: torch.Tensor) -> torch.Tensor:
        return self.project(seen)[:, None]


class Learned(Shown):
    """A token for every 2 x 2 latents [B, 4, h, w], by an encoder that is trained along, as in SuTI.

    Departure: one cross-attention reads text and reference; SuTI has a layer for each.
    """

    def __init__(self, channels: int = 128):
        super().__init__(SIDE * SIDE)
        self.layers = nn.Sequential(
            nn.Conv2d(4, channels // 2, 3, padding=1), nn.GroupNorm(8, channels // 2), nn.SiLU(),
            nn.Conv2d(channels // 2, channels, 3, 2, 1), nn.GroupNorm(8, channels), nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1), nn.GroupNorm(8, channels), nn.SiLU(),
            nn.Conv2d(channels, WIDTH, 1),
        )  # fmt: skip
        self.places = nn.Parameter(0.02 * torch.randn(1, SIDE * SIDE, WIDTH))

    def read(self, seen: torch.Tensor) -> torch.Tensor:
        return self.layers(seen).flatten(2).mT + self.places


def made(arm: Arm, seed: int = 3) -> Shown | None:
    """The part of an arm that is trained beside UNet and text encoder, with the weights that training starts from."""
    torch.manual_seed(seed)
    if arm.encoder is None:
        return None
    return Embedded() if arm.encoder == CLIP else Learned()
