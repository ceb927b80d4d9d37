"""A file of Subject-Diffusion in this pack's form: one safetensors file that says in its metadata what its weights are.

    mlp.<encoder>. proj. layers.<N>. attn2.<N>. conv_in.   `adapter.Networks`, under its own names
    text.<encoder>.                                        the text encoder's weights, whole or less those of the base
    vision.                                                a small image encoder, where the file brings its own

N counts the UNet's blocks on the way down, in the middle, then on the way up. A table of words may be short: `<name>` has the
rows that were trained and `<name>.rows` their numbers; the others are zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from .about import DIFFERENCE, VOCABULARY, About, patches_of
from .adapter import Networks


def whole(
    about: About, state: Mapping[str, torch.Tensor], called: Callable[[str], str] = lambda name: name
) -> dict[str, torch.Tensor]:
    """The weights of a file with whole tables of words. Raises ValueError, with their names, for what is missing or left over.

    called: what errors call a weight of a name here.
    """
    found = {key: value for key, value in state.items() if not key.endswith(ROWS)}
    for key, numbers in ((key, value) for key, value in state.items() if key.endswith(ROWS)):
        table = key.removesuffix(ROWS)
        if table not in found or not table.endswith(TABLE):
            raise ValueError(f"`{key}` is not known")
        found[table] = spread(table, found[table], numbers, VOCABULARY)
    needed, optional = shapes(about)
    _check(found, needed, optional, called)
    return found


def shapes(about: About) -> tuple[dict[str, tuple[int, ...]], set[str]]:
    """The shape of every weight of a file by its name, and the names of those that may be missing."""
    with torch.device("meta"):
        needed = {name: tuple(value.shape) for name, value in Networks(about.sizes).state_dict().items()}
    optional: set[str] = set()
    for encoder, config in about.text_encoders.items():
        own = {f"text.{encoder}.{name}": shape for name, shape in text_shapes(config).items()}
        needed |= own
        if about.text == DIFFERENCE:
            optional |= own.keys()
            continue
        if encoder != "g":  # nothing uses it but the pooled text of Stable Diffusion XL
            optional.add(f"text.{encoder}.text_projection.weight")
        if encoder == "h":  # Stable Diffusion 2 reads the last layer but one, and is published without the last
            optional |= {name for name in own if f".layers.{config['num_hidden_layers'] - 1}." in name}
    if not isinstance(about.image_encoder, str):
        needed |= {f"vision.{name}": shape for name, shape in vision_shapes(about.image_encoder).items()}
    return needed, optional


def text_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights of the host's CLIP text encoder of a configuration."""
    width = config["hidden_size"]
    return {
        f"text_model.{TABLE}": (config["vocab_size"], width),
        "text_model.embeddings.position_embedding.weight": (config["max_position_embeddings"], width),
        **_layers("text_model", config),
        **_norm("text_model.final_layer_norm", width),
        "text_projection.weight": (width, width),
    }


def vision_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """As `text_shapes`, of the host's CLIP Vision."""
    width, side, start = config["hidden_size"], config["patch_size"], "vision_model.embeddings."
    return {
        f"{start}class_embedding": (width,),
        f"{start}patch_embedding.weight": (width, config["num_channels"], side, side),
        f"{start}position_embedding.weight": (patches_of(config) + 1, width),
        **_norm("vision_model.pre_layrnorm", width),
        **_layers("vision_model", config),
        **_norm("vision_model.post_layernorm", width),
        "visual_projection.weight": (config["projection_dim"], width),
    }


TABLE, ROWS = "embeddings.token_embedding.weight", ".rows"


def spread(name: str, rows: torch.Tensor, numbers: torch.Tensor, words: int) -> torch.Tensor:
    """A table [words, D] with ``rows`` [kept, D] at ``numbers`` [kept] and zeros elsewhere. name: for errors (ValueError)."""
    fits = rows.ndim == 2 and numbers.shape == rows.shape[:1] and not numbers.is_floating_point()
    if not fits or not ((numbers >= 0) & (numbers < words)).all():
        raise ValueError(f"`{name}` ({tuple(rows.shape)}) does not fit its numbers of rows ({tuple(numbers.shape)}, of {words})")
    return rows.new_zeros(words, rows.shape[1]).index_copy(0, numbers.long(), rows)


def _layers(model: str, config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    width, inner = config["hidden_size"], config["intermediate_size"]
    found: dict[str, tuple[int, ...]] = {}
    for number in range(config["num_hidden_layers"]):
        start = f"{model}.encoder.layers.{number}."
        found |= _norm(f"{start}layer_norm1", width) | _norm(f"{start}layer_norm2", width)
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            found |= {f"{start}self_attn.{name}.weight": (width, width), f"{start}self_attn.{name}.bias": (width,)}
        found |= {f"{start}mlp.fc1.weight": (inner, width), f"{start}mlp.fc1.bias": (inner,)}
        found |= {f"{start}mlp.fc2.weight": (width, inner), f"{start}mlp.fc2.bias": (width,)}
    return found


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _check(found: Mapping, needed: Mapping, optional: set[str], called: Callable[[str], str]) -> None:
    """Refuse weights that are not exactly those that are needed."""
    problems = [f"`{called(key)}` is missing" for key in needed if key not in found and key not in optional]
    problems += [f"`{called(key)}` is not known" for key in found if key not in needed]
    for key in (key for key in needed if key in found):
        value = found[key]
        if not torch.is_tensor(value) or not value.is_floating_point():
            problems.append(f"`{called(key)}` holds no weights")
        elif tuple(value.shape) != needed[key]:
            problems.append(f"`{called(key)}` has shape {tuple(value.shape)}, needs {needed[key]}")
    if problems:
        shown = "; ".join(problems[:3]) + ("; ..." if len(problems) > 3 else "")
        raise ValueError(f"{len(problems)} of its weights do not fit: {shown}")
