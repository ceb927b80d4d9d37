"""The demo's latents in their colours: the host's previews know those of published VAEs alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import comfy.latent_formats
import torch


class DemoLatents(comfy.latent_formats.SD15):
    """Latents of a demo model's VAE. scale: scaled = raw * scale. factor: pixels a latent, in each direction.

    make_vae: gives a VAE that nothing else uses, so that a preview never moves weights that the host manages; it is small, and
    made when the first preview is. The host takes a preview to be a linear map of the latents, after
    `latent_rgb_factors_reshape`: that decodes them here, and the map leaves colours as they are.
    """

    def __init__(self, scale: float, factor: int, make_vae: Callable[[], Any]):
        super().__init__(scale_factor=scale)
        self.spacial_downscale_ratio = factor
        self.latent_rgb_factors = torch.eye(3).tolist()
        self.latent_rgb_factors_reshape = self.colours
        self.taesd_decoder_name = None
        self._make_vae = make_vae

    @cached_property
    def _network(self) -> torch.nn.Module:
        return self._make_vae().first_stage_model.float().eval()

    def colours(self, latents: torch.Tensor) -> torch.Tensor:
        """The first of scaled latents [B, C, h, w] as a picture in -1..1, [1, 3, H, W]."""
        with torch.inference_mode():
            return self._network.to(latents.device).decode(self.process_out(latents[:1].float()))
