"""What a demo model's file says about the networks in it."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass

KEY = "same_subject.config"
PREFIXES = {"unet": "model.diffusion_model.", "clip": "cond_stage_model.", "vae": "first_stage_model."}
"""Where each network's weights stand in the file: the layout of Stable Diffusion 1.5 checkpoints."""
TOOLS_KEY = "same_subject.tools"
"""Metadata entry of a file that holds the demo's tools for scenes, too: what its embeddings are of."""
TOOL_PREFIXES = {"adapter": "identity.", "finder": "finder."}
"""Where the tools' weights stand in such a file."""
COUNTS = ("layers", "blocks", "depth", "mult")
MOST_LEVELS, MOST_LAYERS, LARGEST = 16, 64, 2**17
"""Bounds of what a file may say: entries of a list, layers (a setting that has one of COUNTS in its name), any other size."""
SHARED_KEY = "same_subject.shared"
"""Metadata entry of a file that leaves weights to another file: which network's, the file's name and its SHA-256."""


@dataclass(frozen=True)
class Shared:
    """A file that holds a network for several demo models. file: a plain name. sha256: of the whole file, in hexadecimal."""

    file: str
    sha256: str


@dataclass(frozen=True)
class Config:
    """unet, clip, vae: keyword arguments of the host's networks. latent_scale: scaled = raw * latent_scale.

    shared: network (a key of PREFIXES) -> the file that holds it, for those that the model's own file does not.
    """

    unet: dict
    clip: dict
    vae: dict
    latent_scale: float
    shared: dict[str, Shared]

    @property
    def latent_factor(self) -> int:
        """Pixels a latent, in each direction: the VAE halves the resolution between its levels."""
        return 2 ** (len(self.vae["ddconfig"]["ch_mult"]) - 1)


def parse(metadata: dict[str, str]) -> Config:
    """Read the metadata entries KEY and SHARED_KEY. Raises ValueError with what is wrong with them."""
    if KEY not in metadata:
        raise ValueError(f"it has no metadata `{KEY}`, so it is not a demo model of this pack")
    try:
        said = json.loads(metadata[KEY])
        shared = parse_shared(metadata.get(SHARED_KEY, "{}"))
        config = Config(dict(said["unet"]), dict(said["clip"]), dict(said["vae"]), float(said["latent_scale"]), shared)
        config.vae["ddconfig"]["ch_mult"], config.unet["in_channels"]
        for network in (config.unet, config.clip, config.vae):
            check_sizes(network)
        if not 0 < config.latent_scale < math.inf:
            raise ValueError(f"`latent_scale` is {config.latent_scale}, but needs a number above 0")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        said = f"it lacks {problem}" if isinstance(problem, KeyError) else problem
        raise ValueError(f"its metadata `{KEY}` or `{SHARED_KEY}` cannot be read: {said}") from problem
    return config


def check_sizes(said, name: str = "") -> None:
    """Raise ValueError for a size at which a network would take the machine's memory before its weights are compared."""
    if isinstance(said, dict):
        for key, value in said.items():
            check_sizes(value, key)
    elif isinstance(said, list):
        if len(said) > MOST_LEVELS:
            raise ValueError(f"`{name}` has {len(said)} entries, but at most {MOST_LEVELS} are read")
        for value in said:
            check_sizes(value, name)
    elif isinstance(said, (int, float)):
        most = MOST_LAYERS if any(word in name for word in COUNTS) else LARGEST
        if not -1 <= said <= most:
            raise ValueError(f"`{name}` is {said}, but needs a number up to {most}")


def parse_shared(text: str) -> dict[str, Shared]:
    """What SHARED_KEY says. Raises ValueError for a network or a name of a file that it cannot be."""
    shared = {part: Shared(**said) for part, said in json.loads(text).items()}
    for part, other in shared.items():
        if part not in PREFIXES or not re.fullmatch(r"[\w-]+\.safetensors", other.file):
            raise ValueError(f"`{SHARED_KEY}` says that `{part}` is in `{other.file}`, which is not a file's plain name")
    return shared
