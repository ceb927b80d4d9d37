"""What a published folder's `config.json` may say of a CLIP or a DINO: its sizes, within bounds, and nothing else.

transformers would follow other entries to code and to the network (`auto_map`, `_attn_implementation`).
"""

from __future__ import annotations

from typing import Any

LAYERS, HEADS, WIDTH, SIDE = (1, 64), (1, 64), (1, 16384), (8, 1024)
VOCABULARY, CONTEXT = 49408, 77
TRANSFORMER = {"hidden_size": WIDTH, "intermediate_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS}
SEEING = {"image_size": SIDE, "patch_size": (1, 64)}
PUBLISHED_CLIP_TEXT = {"vocab_size": VOCABULARY, "max_position_embeddings": CONTEXT, "hidden_act": "quick_gelu"}
PUBLISHED_CLIP_VISION = {"num_channels": 3, "hidden_act": "quick_gelu"}
PUBLISHED_DINO = {"num_channels": 3, "hidden_act": "gelu", "qkv_bias": True}
DINO_EPSILON = 1e-6
"""Of DINO's layer norms in its authors' code; its published folder says 1e-12, which is transformers' default."""
DEFAULTS = {
    "text_config": {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 8},
    "vision_config": {
        "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
        "image_size": 224, "patch_size": 32,
    },
    "dino": {
        "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
        "image_size": 224, "patch_size": 16,
    },
}  # fmt: skip
"""What is not said: transformers' defaults, which folders leave out."""


def clip(said: dict) -> dict[str, Any]:
    """Arguments of transformers' CLIPConfig from a folder's `config.json`. Raises ValueError with what is out of bounds."""
    _same(said, {"model_type": "clip"}, "")
    text, vision = (_object(said, name) for name in ("text_config", "vision_config"))
    projection = _sizes(said, {"projection_dim": WIDTH}, {"projection_dim": 512}, "")
    _same(text, PUBLISHED_CLIP_TEXT, "text_config.")
    _same(vision, PUBLISHED_CLIP_VISION, "vision_config.")
    return {
        **projection,
        "text_config": {
            **PUBLISHED_CLIP_TEXT, **projection, "eos_token_id": VOCABULARY - 1,
            **_sizes(text, TRANSFORMER, DEFAULTS["text_config"], "text_config."),
        },
        "vision_config": {
            **PUBLISHED_CLIP_VISION, **projection,
            **_sizes(vision, TRANSFORMER | SEEING, DEFAULTS["vision_config"], "vision_config."),
        },
    }  # fmt: skip


def dino(said: dict) -> dict[str, Any]:
    """Arguments of transformers' ViTConfig from a folder's `config.json`. Raises ValueError with what is out of bounds."""
    _same(said, {"model_type": "vit"}, "")
    _same(said, PUBLISHED_DINO, "")
    return {**PUBLISHED_DINO, "layer_norm_eps": DINO_EPSILON, **_sizes(said, TRANSFORMER | SEEING, DEFAULTS["dino"], "")}


def _object(said: dict, name: str) -> dict:
    part = said.get(name)
    if part is not None and not isinstance(part, dict):
        raise ValueError(f"`{name}` is {_shown(part)}, but needs to be an object")
    return part or {}


def _same(said: dict, published: dict[str, Any], within: str) -> None:
    for name, value in published.items():
        given = said.get(name)
        if (given is None and name == "model_type") or (given is not None and given != value):
            raise ValueError(f"`{within}{name}` is {_shown(given)}, but needs to be {value!r}, as published")


def _sizes(said: dict, bounds: dict[str, tuple[int, int]], defaults: dict[str, int], within: str) -> dict[str, int]:
    taken = {}
    for name, (least, most) in bounds.items():
        value = defaults[name] if said.get(name) is None else said[name]
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"`{within}{name}` is {_shown(value)}, but needs to be a whole number from {least} to {most}")
        taken[name] = value
    for whole, part in (("hidden_size", "num_attention_heads"), ("image_size", "patch_size")):
        if whole in taken and taken[whole] % taken[part]:
            raise ValueError(f"`{within}{whole}` is {taken[whole]}, but needs to be a multiple of `{part}`, {taken[part]}")
    return taken


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
