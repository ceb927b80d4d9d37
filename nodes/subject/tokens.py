"""What a subject's picture becomes: an embedding in the prompt, and tokens for the layers of the UNet (section 3.3).

The forms and names of parameters are those of the authors' files; where their code and the paper differ, this is the code.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

FREQUENCIES = 8
BASE = 100.0
PATCHES = 256
"""Patch tokens of a subject: a picture of 224 pixels in patches of 14."""


def box_code(boxes: torch.Tensor) -> torch.Tensor:
    """The Fourier code [..., 64] of boxes [..., 4], xyxy in shares of the picture.

    For each frequency f = 100^(k/8), k = 0..7, the sine of f times the four numbers and then the cosine.
    """
    steps = torch.arange(FREQUENCIES, device=boxes.device, dtype=boxes.dtype)
    angles = boxes[..., None, :] * (BASE ** (steps / FREQUENCIES))[:, None]
    return torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(-2)


class Perceptron(nn.Module):
    """A norm, two linear layers and a GELU between them: the authors' `mlp` and the part `linears_image` of their `proj`."""

    def __init__(self, width: int, inner: int, out: int, make: Any = nn):
        super().__init__()
        self.layernorm = make.LayerNorm(width)
        self.fc1 = make.Linear(width, inner)
        self.fc2 = make.Linear(inner, out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[..., width] to [..., out]; for the CLS embedding of a subject, the row that stands at its placeholder."""
        return self.fc2(nn.functional.gelu(self.fc1(self.layernorm(x))))


class Grounding(nn.Module):
    """The authors' `proj`: patch tokens of subjects and their boxes to tokens for the layers, h of section 3.3.

    patch: channels of a patch token. width: of what comes out.
    """

    def __init__(self, patch: int, width: int, patches: int = PATCHES, make: Any = nn):
        super().__init__()
        code = 2 * 4 * FREQUENCIES
        self.linears_image = Perceptron(patch + code, width, width, make)
        self.null_image_feature = nn.Parameter(torch.zeros(1, 1, patches, patch))
        self.null_position_feature = nn.Parameter(torch.zeros(1, 1, patches, code))

    def forward(self, patches: torch.Tensor, boxes: torch.Tensor | None) -> torch.Tensor:
        """Tokens [..., K * P, width] of K subjects.

        patches: [..., K, P, patch], raw. boxes: [..., K, 4] xyxy in shares; None where the file was trained without them, or for
        one subject, whose box the authors leave out: then the position is the null one.
        """
        if boxes is None:
            places = self.null_position_feature[0].expand(*patches.shape[:-1], -1)
        else:
            places = box_code(boxes)[..., None, :].expand(*patches.shape[:-1], -1)
        return self.linears_image(torch.cat([patches, places.to(patches)], dim=-1)).flatten(-3, -2)

    def absent(self, count: int, like: torch.Tensor) -> torch.Tensor:
        """Tokens [count * P, width] of ``count`` subjects that are not there, where ``like`` is."""
        null = torch.cat([self.null_image_feature, self.null_position_feature], dim=-1)
        return self.linears_image(null[0, 0].to(like)).repeat(count, 1)
