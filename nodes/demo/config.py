"""What a demo model's file says about the networks in it."""

from __future__ import annotations

import json
from dataclasses import dataclass

KEY = "same_subject.config"
PREFIXES = {"unet": "model.diffusion_model.", "clip": "cond_stage_model.", "vae": "first_stage_model."}
"""Where each network's weights stand in the file: the layout of Stable Diffusion 1.5 checkpoints."""
TOOLS_KEY = "same_subject.tools"
"""Metadata entry of a file that holds the demo's tools for scenes, too: what its embeddings are of."""
TOOL_PREFIXES = {"adapter": "identity.", "finder": "finder."}
"""Where the tools' weights stand in such a file."""


@dataclass(frozen=True)
class Config:
    """unet, clip, vae: keyword arguments of the host's networks. latent_scale: scaled = raw * latent_scale."""

    unet: dict
    clip: dict
    vae: dict
    latent_scale: float

    @property
    def latent_factor(self) -> int:
        """Pixels a latent, in each direction: the VAE halves the resolution between its levels."""
        return 2 ** (len(self.vae["ddconfig"]["ch_mult"]) - 1)


def parse(metadata: dict[str, str]) -> Config:
    """Read the metadata entry `same_subject.config`. Raises ValueError with what is wrong with it."""
    if KEY not in metadata:
        raise ValueError(f"it has no metadata `{KEY}`, so it is not a demo model of this pack")
    try:
        said = json.loads(metadata[KEY])
        config = Config(dict(said["unet"]), dict(said["clip"]), dict(said["vae"]), float(said["latent_scale"]))
        config.vae["ddconfig"]["ch_mult"], config.unet["in_channels"]
    except (ValueError, KeyError, TypeError) as problem:
        raise ValueError(f"its metadata `{KEY}` cannot be read: {problem!r}") from problem
    return config
