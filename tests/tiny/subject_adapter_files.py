"""A small subject adapter with random weights, for the UNets and the text encoders of `models`, in this pack's form of a file."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from same_subject.nodes.subject import about as abouts
from same_subject.nodes.subject import files
from same_subject.nodes.subject.adapter import Sizes

from . import models

TEXT = {
    "intermediate_size": 64,
    "num_attention_heads": 2,
    "num_hidden_layers": 3,
    "hidden_act": "gelu",
    "eos_token_id": 49407,
    "max_position_embeddings": 77,
    "vocab_size": 49408,
}
WORDS = {"sd15": {"l": 32}, "sd2": {"h": 48}, "sdxl": {"l": 24, "g": 40}}
VISION = {
    "model_type": "clip_vision_model",
    "hidden_size": 24,
    "intermediate_size": 48,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "hidden_act": "gelu",
    "image_size": 32,
    "patch_size": 8,
    "num_channels": 3,
    "projection_dim": 20,
}


def about(kind: str = "sd15", **changes) -> abouts.About:
    """What a file for `models.model(kind)` says of itself. changes: to its fields."""
    config = models.unet_config(kind)
    across = [config["model_channels"] * share for share in config["channel_mult"]]
    down = [width for width, depth in zip(across, config["transformer_depth"], strict=True) for _ in range(depth)]
    up = [
        width for width, depth in zip(sorted(across * 2), config["transformer_depth_output"], strict=True) for _ in range(depth)
    ]
    blocks = (*down, *across[-1:] * config["transformer_depth_middle"], *up[::-1])
    heads = [config["num_heads"] if config["num_heads"] > 0 else width // config["num_head_channels"] for width in blocks]
    sizes = Sizes(
        words=WORDS[kind],
        cls=VISION["projection_dim"],
        patch=VISION["hidden_size"],
        patches=16,
        tokens=28,
        context=config["context_dim"],
        layers=tuple(zip(blocks, heads, strict=True)),
        first=config["model_channels"],
    )
    text = {name: {**TEXT, "hidden_size": width} for name, width in WORDS[kind].items()}
    said = {"family": abouts.DEMO, "base": f"a small {kind}", "sizes": sizes, "text_config": text, "image_encoder": VISION}
    return abouts.About(**{**said, **changes})


def state(about: abouts.About, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random weights for it that keep the size of what goes through, all of them such as half precision has; gates are open."""
    generator, made = torch.Generator().manual_seed(seed), {}
    for name, shape in files.shapes(about)[0].items():
        noise = torch.randn(shape, generator=generator)
        if len(shape) > 1 and "null" not in name:
            noise = noise * noise[0].numel() ** -0.5
        elif shape and "null" not in name:
            noise = 0.1 * noise + (1 if "norm" in name and name.endswith("weight") else 0)
        made[name] = noise.half().float()
    return made


def vision(folder: Path, seed: int = 0, **config):
    """A CLIP_VISION with random weights. config: what differs from VISION."""
    import comfy.clip_vision

    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "config.json"
    file.write_text(json.dumps({**VISION, **config}))
    made, generator = comfy.clip_vision.ClipVisionModel(str(file)), torch.Generator().manual_seed(seed)
    weights = {name: torch.randn(value.shape, generator=generator) * 0.2 for name, value in made.get_sd().items()}
    made.load_sd(weights)
    return made


def save(path: Path, kind: str = "sd15", seed: int = 0, **changes) -> Path:
    """The file. changes: to what it says of itself."""
    said = about(kind, **changes)
    return write(path, said, state(said, seed))


def write(path: Path, about: abouts.About, state: dict[str, torch.Tensor]) -> Path:
    """A file of these weights."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, path, abouts.metadata(about))
    return path
