"""A checkpoint of the user's own: which family it is of, and making it known to the server."""

from __future__ import annotations

import re
from pathlib import Path

from same_subject.dev import server
from same_subject.dev.host import SetupError
from same_subject.nodes.host import weights

FAMILIES = {768: "sd15", 1024: "sd2", 2048: "sdxl"}
"""Width of the text features that cross-attention takes -> family of the checkpoint."""
SIZES = {"sd15": 512, "sd2": 512, "sdxl": 1024}
"""Width and height of the pictures that a family was made for."""
DEMO_SIZE = 64
"""The same for the demo model."""
SUFFIXES = (".safetensors", ".sft", ".ckpt", ".pt", ".pt2", ".bin", ".pth", ".pkl")
"""Ends of the names of files that ComfyUI lists as checkpoints."""


def family_of(path: Path) -> str:
    """Which family (a value of `FAMILIES`) a checkpoint belongs to, from its safetensors header alone."""
    if path.suffix.lower() not in (".safetensors", ".sft"):
        return "sd15"
    try:
        header = weights.read_header(path)
    except weights.Truncated as problem:
        raise SetupError(f"--checkpoint: {problem}: the download was cut short, repeat it.") from None
    except ValueError:
        raise SetupError(f"--checkpoint {path} is not a safetensors file, or is damaged: download it again.") from None
    widths = {header[key]["shape"][1] for key in header if re.fullmatch(r"model\.diffusion_model\..*attn2\.to_k\.weight", key)}
    if len(widths) != 1 or not widths <= set(FAMILIES):
        raise SetupError(
            f"--checkpoint {path} is no full Stable Diffusion 1.5, 2 or XL checkpoint (a single file with UNet, text "
            "encoder and VAE): give one of those."
        )
    return FAMILIES[widths.pop()]


def offer_checkpoint(live: server.Server, path: Path | None) -> str | None:
    """Make the checkpoint known to the server; returns the name the loader node knows it by, or None."""
    if path is None:
        return None
    server.link_file(path.resolve(), live.base / "models" / "checkpoints" / path.name)
    return path.name
