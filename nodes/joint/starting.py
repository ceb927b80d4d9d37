"""Latents of pictures made before, from which the pictures of a set start, or in which they stay what they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from .layout import Layout

LAYOUT = "same_subject_layout"
"""Key of a LATENT dict with the `Layout` of its rows. Stale where another node took rows out: then their number is another."""


@dataclass(frozen=True, eq=False)
class Start:
    """What pictures start from: clean latents, unscaled, and 1 where they are painted anew or None for everywhere.

    latents: [P, C, h, w], one for every picture, one a picture of a set, or one a picture; mask: [1 or P, 1, H, W].
    """

    latents: torch.Tensor
    mask: torch.Tensor | None = None

    def of(self, layout: Layout) -> Start:
        """One of each for every picture to generate, S * M. Raises ValueError where that cannot be told."""
        try:
            return Start(layout.of_pictures(self.latents), None if self.mask is None else layout.of_pictures(self.mask))
        except ValueError as needed:
            raise ValueError(
                f"Joint Set: `start` has {_counts(self)}, but the set needs {needed}. Give one for all pictures, one a picture "
                "of a set, or one a picture, such as Pick Pictures takes out of a sampled set."
            ) from None

    def size(self, width: int, height: int, step: int) -> tuple[int, int]:
        """Width and height of the set in pixels; 0 follows the latents. Raises ValueError where what is given disagrees."""
        own_height, own_width = (length * step for length in self.latents.shape[-2:])
        for given, own in ((width, own_width), (height, own_height)):
            if given and given // step * step != own:
                raise ValueError(
                    f"Joint Set: `width` and `height` are {width}x{height}, but the latents at `start` are of pictures of "
                    f"{own_width}x{own_height} pixels. Set both to 0, which follows `start`, or resize it with Upscale Latent."
                )
        return own_width, own_height


def read(latent: dict[str, Any]) -> Start:
    """A LATENT dict's pictures; of a whole joint batch, those to generate. Raises ValueError for what is none, and for NaN."""
    given, masks = latent.get("samples"), latent.get("noise_mask")
    if not isinstance(given, torch.Tensor) or given.ndim != 4 or not given.numel():
        shape = f"of shape {tuple(given.shape)}" if isinstance(given, torch.Tensor) else "none of pictures"
        raise ValueError(
            f"Joint Set: the latents at `start` are {shape}, but need to be (pictures, channels, height, width). Connect a "
            "sampler, Pick Pictures or VAE Encode of the same model."
        )
    samples = _finite("latents", given)
    mask = None if masks is None else _finite("noise mask of the latents", masks).reshape(-1, 1, *masks.shape[-2:])
    layout = latent.get(LAYOUT)
    if isinstance(layout, Layout) and layout.rows == len(samples):
        if mask is not None and len(mask) == len(samples):
            mask = mask[layout.generated_rows]
        samples = samples[layout.generated_rows]
    return Start(samples, mask)


def _finite(name: str, values: torch.Tensor) -> torch.Tensor:
    """In single precision on the CPU."""
    if not values.isfinite().all():
        raise ValueError(
            f"Joint Set: there is NaN or infinity in the {name} at `start`, but the set needs finite numbers. See why the node "
            "that made them failed, or connect others."
        )
    return values.detach().to("cpu", torch.float32)


def _counts(start: Start) -> str:
    masks = "" if start.mask is None or len(start.mask) == 1 else f" and {len(start.mask)} masks"
    return f"{len(start.latents)} latents{masks}"
