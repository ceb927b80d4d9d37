"""The authors' four state dicts, in the names of this pack's form (`files`).

Their training (github.com/OPPO-Mente-Lab/Subject-Diffusion) writes one of the UNet in diffusers' names with a layer `fuser` in
each block, one of transformers' CLIP text encoder, and those of `mlp` and `proj`. The base is Stable Diffusion 2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch

from . import about as abouts
from . import files
from .about import About
from .adapter import Sizes

UNET, TEXT, MLP, PROJ = PARTS = ("unet", "clip_text", "mlp", "proj")
FAMILY, BASE, ENCODER = "sd2", "stable-diffusion-2-base", "h"
HEAD = 64
"""Channels of a head in every block of Stable Diffusion 2."""
BLOCK = re.compile(r"((?:(down|up)_blocks\.(\d+)|(mid)_block)\.attentions\.(\d+)\.transformer_blocks\.(\d+))\.(.+)")
OWN = {"fuser": "layers", "attn2": "attn2"}
"""What was trained of a block, but for weights that are in FROZEN, and its name here."""
AFFINE = r"\.(weight|bias)"
FROZEN = (
    re.compile(rf"(conv_norm_out|conv_out|time_embedding\.linear_[12]){AFFINE}"),
    re.compile(
        r"((down|up)_blocks\.\d+|mid_block)\.resnets\.\d+\.(norm1|conv1|time_emb_proj|norm2|conv2|conv_shortcut)" + AFFINE
    ),
    re.compile(rf"(down_blocks\.\d+\.downsamplers|up_blocks\.\d+\.upsamplers)\.0\.conv{AFFINE}"),
    re.compile(rf"((down|up)_blocks\.\d+|mid_block)\.attentions\.\d+\.(norm|proj_in|proj_out){AFFINE}"),
    re.compile(
        rf"{BLOCK.pattern.removesuffix('(.+)')}"
        rf"(norm[123]{AFFINE}|attn1\.(to_[qkv]\.weight|to_out\.0{AFFINE})|attn2\.(to_q\.weight|to_out\.0{AFFINE})"
        rf"|ff\.net\.(0\.proj|2){AFFINE})"
    ),
)
"""The rest of the UNet, which is the base's own: training does not touch it, so it is left out."""
UNUSED_TEXT = "text_model.embeddings.position_ids"
"""0 to 76, which some versions of transformers save."""


def convert(parts: Mapping[str, Mapping[str, torch.Tensor]], steps: int = 0) -> tuple[About, dict[str, torch.Tensor]]:
    """What the four are, and their weights in this pack's names. parts: by PARTS. steps: that they were trained for.

    Raises ValueError, with the authors' names, for what is missing, left over or of another size.
    """
    blocks = _blocks(parts[UNET])
    about = About(family=FAMILY, base=BASE, sizes=_sizes(parts, blocks), steps=steps)
    abouts.check(about)
    state = {f"mlp.{ENCODER}.{name}": value for name, value in parts[MLP].items()}
    state |= {f"proj.{name}": value for name, value in parts[PROJ].items()}
    state |= {f"text.{ENCODER}.{name}": value for name, value in parts[TEXT].items() if name != UNUSED_TEXT}
    for name, value in parts[UNET].items():
        if ours := _ours(name, blocks):
            state[ours] = value
    return about, files.whole(about, state, lambda ours: _theirs(ours, blocks))


def _blocks(unet: Mapping) -> list[str]:
    """The names of the UNet's blocks on the way down, in the middle, then on the way up."""
    groups, found = ("down", "mid", "up"), {}
    for match in filter(None, map(BLOCK.fullmatch, unet)):
        name, way, level, middle, attention, block, _ = match.groups()
        found[name] = (groups.index(way or middle), int(level or 0), int(attention), int(block))
    if not found:
        raise ValueError(f"`{UNET}` has no weights of attention in diffusers' names")
    return sorted(found, key=lambda name: found[name])


def _ours(name: str, blocks: list[str]) -> str | None:
    """This pack's name for a weight of the UNet; None for one that is the base's own."""
    if any(pattern.fullmatch(name) for pattern in FROZEN):
        return None
    if found := BLOCK.fullmatch(name):
        group, _, rest = found[7].partition(".")
        if group in OWN:
            return f"{OWN[group]}.{blocks.index(found[1])}.{rest}"
    elif name.startswith("conv_in."):
        return name
    raise ValueError(f"`{UNET}: {name}` is not known")


def _theirs(name: str, blocks: list[str]) -> str:
    """The authors' name for a weight, for errors."""
    part, _, rest = name.partition(".")
    if part in OWN.values():
        number, _, rest = rest.partition(".")
        group = next(theirs for theirs, ours in OWN.items() if ours == part)
        return f"{UNET}: {blocks[int(number)]}.{group}.{rest}"
    return {
        "conv_in": f"{UNET}: {name}",
        "mlp": f"{MLP}: {rest.removeprefix(f'{ENCODER}.')}",
        "proj": f"{PROJ}: {rest}",
        "text": f"{TEXT}: {rest.removeprefix(f'{ENCODER}.')}",
    }[part]


def _sizes(parts: Mapping[str, Mapping[str, torch.Tensor]], blocks: list[str]) -> Sizes:
    def size(part: str, name: str, axis: int) -> int:
        value: Any = parts[part].get(name)
        if not torch.is_tensor(value) or value.ndim <= axis:
            raise ValueError(f"`{part}: {name}` is missing")
        return value.shape[axis]

    channels = [size(UNET, f"{block}.fuser.linear.weight", 0) for block in blocks]
    return Sizes(
        words={ENCODER: size(MLP, "fc2.weight", 0)},
        cls=size(MLP, "fc1.weight", 1),
        patch=size(PROJ, "null_image_feature", 3),
        patches=size(PROJ, "null_image_feature", 2),
        tokens=size(PROJ, "linears_image.fc2.weight", 0),
        context=size(UNET, f"{blocks[0]}.attn2.to_k.weight", 1),
        layers=tuple((width, width // HEAD) for width in channels),
        first=size(UNET, "conv_in.weight", 0),
    )
