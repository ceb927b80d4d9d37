"""The text encoder that belongs to a subject adapter, as the host's CLIP."""

from __future__ import annotations

from typing import Any

import comfy.sd
import comfy.sd1_clip
import comfy.sdxl_clip
import comfy.supported_models_base
import comfy.text_encoders.sd2_clip
import folder_paths
import torch

from .. import about as abouts
from ..about import About
from ..files import text_shapes

KINDS = {
    ("l",): (comfy.sd1_clip.SD1Tokenizer, comfy.sd1_clip.SD1ClipModel),
    ("h",): (comfy.text_encoders.sd2_clip.SD2Tokenizer, comfy.text_encoders.sd2_clip.SD2ClipModel),
    ("g", "l"): (comfy.sdxl_clip.SDXLTokenizer, comfy.sdxl_clip.SDXLClipModel),
}
"""The host's tokenizer and network for text encoders of these names."""


def load(about: About, state: dict[str, torch.Tensor], given, disable_dynamic: bool = False) -> comfy.sd.CLIP:
    """A CLIP with the text encoders of a file.

    state: their weights, `<encoder>.<name>`, whole or less those of ``given``, the base model's CLIP, which is not changed.
    Raises ValueError where that is missing or another one.
    """
    if given is not None:
        _check_given(about, given)
    clip = _whole(about, state, disable_dynamic) if about.text == abouts.WHOLE else _changed(about, state, given)
    _check_placeholder(about, clip)
    return clip


def _whole(about: About, state: dict[str, torch.Tensor], disable_dynamic: bool) -> comfy.sd.CLIP:
    encoders = about.text_encoders
    kind = KINDS.get(tuple(sorted(encoders)))
    if kind is None:
        raise ValueError(f"it has the text encoders {', '.join(encoders)}, which ComfyUI has no model for.")
    options: dict[str, Any] = {f"clip_{name}_model_config": config for name, config in encoders.items()}
    if len(encoders) == 1:
        options["model_name"] = f"clip_{next(iter(encoders))}"  # which of these the host reads for SD2 is not said by itself
    clip = comfy.sd.CLIP(
        comfy.supported_models_base.ClipTarget(*kind),
        embedding_directory=folder_paths.get_folder_paths("embeddings"),
        model_options=options,
        parameters=sum(value.numel() for value in state.values()),
        disable_dynamic=disable_dynamic,
    )
    whole = {_name(key): value for key, value in _filled(about, state).items()}
    clip.load_sd(whole, full_model=True)
    return clip


def _filled(about: About, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """With what a file may leave out, such that it does nothing: it would be memory that nobody wrote.

    That is the projection of the pooled text, and the last layer of Stable Diffusion 2's encoder.
    """
    filled = dict(state)
    for encoder, config in about.text_encoders.items():
        for name, shape in text_shapes(config).items():
            if f"{encoder}.{name}" not in state:
                filled[f"{encoder}.{name}"] = torch.eye(shape[0]) if name == "text_projection.weight" else torch.zeros(shape)
    return filled


def _changed(about: About, state: dict[str, torch.Tensor], given) -> comfy.sd.CLIP:
    """``given`` and what the file adds to its weights."""
    if given is None:
        raise ValueError(
            "it holds only how its text encoder differs from the base model's, but no `clip` was given. Connect the CLIP of "
            f"{_base(about)}."
        )
    clip = given.clone()
    patches = {_name(key): ("diff", (value,)) for key, value in state.items()}
    if missing := patches.keys() - set(clip.add_patches(patches, 1.0)):
        raise ValueError(
            f"it changes `{sorted(missing)[0]}` of a text encoder, but `clip` has no such weight. Connect the CLIP of "
            f"{_base(about)}."
        )
    return clip


def _check_given(about: About, given) -> None:
    """Refuse a CLIP of another base."""
    found = {}
    for name in abouts.TEXT_ENCODERS:
        if encoder := getattr(given.cond_stage_model, f"clip_{name}", None):
            found[name] = encoder.transformer.get_input_embeddings().weight.shape[1]
    if found != about.sizes.words:
        said, needed = (
            " and ".join(f"`{name}` of {width}" for name, width in each.items()) for each in (found, about.sizes.words)
        )
        raise ValueError(
            f"it needs a text encoder {needed} channels, but `clip` has {f'{said} channels' if found else 'no such one'}. "
            f"Connect the CLIP of {_base(about)}."
        )


def _base(about: About) -> str:
    return f"the checkpoint that it was trained on, or one of its kind ({about.base}, {about.family})"


def _check_placeholder(about: About, clip: comfy.sd.CLIP) -> None:
    """Refuse a file whose placeholder's word and number are not the same word."""
    for name, chunks in clip.tokenize(about.placeholder).items():
        tokens = [token for token, *_ in chunks[0]]
        if tokens[1:3] != [about.placeholder_token, 49407]:
            raise ValueError(
                f"its placeholder `{about.placeholder}` is the token {tokens[1]} of `{name}`, but its metadata says "
                f"{about.placeholder_token}. Get the file again from who made it."
            )


def _name(key: str) -> str:
    """The host's name for a weight `<encoder>.<name>`."""
    encoder, _, name = key.partition(".")
    return f"clip_{encoder}.transformer.{name}"
