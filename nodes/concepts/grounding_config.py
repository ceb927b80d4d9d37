"""What a published folder's `config.json` may say of a Grounding DINO: its sizes, within bounds, and nothing else.

transformers would follow other entries to code, to other packages and to the network (`backbone`, `auto_map`,
`quantization_config`, `_attn_implementation`). What only training reads is left out, too.
"""

from __future__ import annotations

from typing import Any

Bounds = tuple[int, int]
LAYERS, HEADS, WIDTH, SMALL = (1, 48), (1, 32), (1, 8192), (1, 32)
SIZES: dict[str, dict[str, Bounds]] = {
    "": {
        "d_model": WIDTH,
        "num_queries": (1, 4096),
        "num_feature_levels": SMALL,
        "encoder_layers": LAYERS,
        "decoder_layers": LAYERS,
        "encoder_ffn_dim": WIDTH,
        "decoder_ffn_dim": WIDTH,
        "encoder_attention_heads": HEADS,
        "decoder_attention_heads": HEADS,
        "encoder_n_points": SMALL,
        "decoder_n_points": SMALL,
    },
    "backbone_config": {"embed_dim": WIDTH, "window_size": (1, 24)},
    "text_config": {
        "vocab_size": (1, 1_000_000),
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": WIDTH,
        "max_position_embeddings": WIDTH,
        "type_vocab_size": SMALL,
    },
}
LISTS: dict[str, Bounds] = {"depths": LAYERS, "num_heads": (1, 128), "out_indices": (0, 8)}
"""Of the backbone: an entry a stage."""
STAGES = 6
STAGE_NAMES = {"stem": 0, **{f"stage{number}": number for number in range(1, STAGES + 1)}}
FLAGS = ("two_stage", "decoder_bbox_embed_share", "two_stage_bbox_embed_share", "embedding_init_target")
PUBLISHED: dict[str, dict[str, Any]] = {
    "": {
        "model_type": "grounding-dino",
        "activation_function": "relu",
        "position_embedding_type": "sine",
        "positional_embedding_temperature": 20,
        "max_text_len": 256,
        "query_dim": 4,
        "layer_norm_eps": 1e-5,
    },
    "backbone_config": {
        "model_type": "swin",
        "patch_size": 4,
        "num_channels": 3,
        "mlp_ratio": 4.0,
        "qkv_bias": True,
        "hidden_act": "gelu",
        "use_absolute_embeddings": False,
        "layer_norm_eps": 1e-5,
    },
    "text_config": {
        "model_type": "bert",
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "position_embedding_type": "absolute",
        "pad_token_id": 0,
        "is_decoder": False,
        "add_cross_attention": False,
    },
}
"""What would change the result and no size tells: the same in every published folder, and refused where it is not."""


def sizes(said: dict) -> dict:
    """Arguments of transformers' configuration, from a folder's `config.json` or `grounding_keys.configuration`.

    What is not said stays with transformers' defaults, which are those of the published tiny network. Raises ValueError,
    with the entry, where it is out of bounds or belongs to another network.
    """
    taken: dict[str, Any] = {**_part(said, ""), **{name: _flag(name, said[name]) for name in FLAGS if said.get(name) is not None}}
    for name in ("backbone_config", "text_config"):
        part = said.get(name)
        if part is None:
            part = {}
        if not isinstance(part, dict):
            raise ValueError(f"`{name}` is {_shown(part)}, but needs to be an object")
        taken[name] = {"model_type": PUBLISHED[name]["model_type"], **_part(part, name)}
        if name == "backbone_config":
            taken[name] |= _stages(part)
    return taken


def _part(said: dict, part: str) -> dict[str, int]:
    for name, value in PUBLISHED[part].items():
        if said.get(name) is not None and said[name] != value:
            raise ValueError(f"{_path(part, name)} is {_shown(said[name])}, but needs to be {value!r}, as published")
    given = {name: bounds for name, bounds in SIZES[part].items() if said.get(name) is not None}
    return {name: _size(_path(part, name), said[name], bounds) for name, bounds in given.items()}


def _stages(said: dict) -> dict[str, list[int]]:
    features = said.get("out_features")
    if said.get("out_indices") is None and isinstance(features, list):
        said = {**said, "out_indices": [STAGE_NAMES.get(str(name), name) for name in features]}
    taken = {"out_indices": [2, 3, 4]}
    for name, bounds in LISTS.items():
        given = said.get(name)
        if given is None:
            continue
        path = _path("backbone_config", name)
        if not isinstance(given, list) or not 1 <= len(given) <= STAGES:
            raise ValueError(f"{path} is {_shown(given)}, but needs to be a list of 1 to {STAGES} numbers")
        taken[name] = [_size(path, each, bounds) for each in given]
    return taken


def _size(name: str, value: Any, bounds: Bounds) -> int:
    least, most = bounds
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{name} is {_shown(value)}, but needs to be a whole number from {least} to {most}")
    return value


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"`{name}` is {_shown(value)}, but needs to be true or false")
    return value


def _path(part: str, name: str) -> str:
    return f"`{part}.{name}`" if part else f"`{name}`"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
