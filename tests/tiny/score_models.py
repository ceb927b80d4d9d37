"""CLIP and DINO with random weights in folders as published: tiny ones, and those of the paper's size."""

from __future__ import annotations

from pathlib import Path

import torch

from .grounding import randomise

TINY = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
TINY_CLIP = {
    "projection_dim": 24,
    "text_config": {**TINY, "projection_dim": 24},
    "vision_config": {**TINY, "image_size": 56, "patch_size": 14, "projection_dim": 24},
}
TINY_DINO = {**TINY, "image_size": 56, "patch_size": 14}
PAPER_CLIP: dict = {}
PAPER_DINO = {"hidden_size": 384, "intermediate_size": 1536, "num_attention_heads": 6}


def clip(sizes: dict, seed: int = 0):
    """CLIP in transformers; ViT-B/32 without ``sizes``."""
    import transformers

    return _random(transformers.CLIPModel(transformers.CLIPConfig(**sizes)), seed)


def dino(sizes: dict, seed: int = 0):
    """DINO in transformers."""
    import transformers

    return _random(transformers.ViTModel(transformers.ViTConfig(**sizes)), seed)


def save(folder: Path, clip_sizes: dict | None = None, dino_sizes: dict | None = None) -> Path:
    """Both under ``folder`` by their published names: config.json and weights."""
    clip(TINY_CLIP if clip_sizes is None else clip_sizes).save_pretrained(folder / "clip-vit-base-patch32")
    dino(TINY_DINO if dino_sizes is None else dino_sizes).save_pretrained(folder / "dino-vits16")
    return folder


def _random(network, seed: int):
    """Weights large enough that every input shows, and biases and class tokens that are not 0."""
    network = randomise(network, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if weight.ndim == 3 or name.endswith("class_embedding"):
                weight.copy_(0.1 * torch.randn(weight.shape, generator=generator))
    return network.eval().requires_grad_(False)
