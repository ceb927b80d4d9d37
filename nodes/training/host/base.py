"""The model that a training begins from: a checkpoint as the host's own loader builds it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import comfy.model_base
import comfy.sd
import torch

from ...host import model_files, unet
from ...joint import settings as joint
from ...joint.host import trained as said
from ..cache import name_of
from ..settings import SEEN

NAME = "Train Joint Model"
"""Who speaks in errors."""
LAYOUTS = (comfy.model_base.BaseModel, comfy.model_base.SDXL)
"""What the host makes of Stable Diffusion 1.5 and 2, and of XL."""
LATENT = 4
"""Channels of their latents."""
BLOCKS, BLOCK = 256, 4096
"""Of a checkpoint's file, how many are looked at to know it again, and their bytes."""


@dataclass(frozen=True, eq=False)
class Base:
    """patcher: a ModelPatcher whose weights are this training's own, to be changed. clip, vae: the host's. path: its file.

    channels: its input channels, 4 or 9. order: of 9. prediction: one of `joint.trained.PREDICTIONS`. known_by: a text that tells
    it from others.
    """

    patcher: Any
    clip: Any
    vae: Any
    path: Path
    channels: int
    order: str | None
    prediction: str
    known_by: str = ""

    @property
    def unet(self) -> torch.nn.Module:
        return self.patcher.model.diffusion_model

    @property
    def schedule(self) -> torch.Tensor:
        """The product of 1 - beta up to each step, [steps], of the model's own noise levels."""
        sigmas = said.predicting(self.patcher).get_model_object("model_sampling").sigmas.double()
        return (1 / (1 + sigmas**2)).float()


def open_checkpoint(path: Path, dtype: torch.dtype = torch.float32) -> Base:
    """A checkpoint with text encoder and VAE; dtype: of the UNet's weights.

    Raises ValueError with the file's name where the host cannot load it, or it cannot be trained.
    """
    if not path.is_file():
        raise ValueError(f"{NAME}: {path} does not exist. Give a checkpoint's file.")
    try:
        patcher, clip, vae, _ = comfy.sd.load_checkpoint_guess_config(
            str(path), model_options={"dtype": dtype}, disable_dynamic=True
        )
    except Exception as problem:
        raise ValueError(
            f"{NAME}: {path.name} cannot be loaded: {model_files.first_line(problem)}. Give a checkpoint that ComfyUI loads."
        ) from problem
    if clip is None or getattr(vae, "first_stage_model", None) is None:
        lacks = "text encoder" if clip is None else "VAE"
        raise ValueError(f"{NAME}: {path.name} holds no {lacks}. Give a checkpoint that has both.")
    return base_of(patcher, clip, vae, path)


def base_of(patcher, clip, vae, path: Path) -> Base:
    """What a loader gave, as what a training begins from. Raises ValueError where it cannot."""
    unet.attention_blocks(patcher, NAME)
    if type(patcher.model) not in LAYOUTS or patcher.model.model_type not in said.KINDS:
        kind = f"{type(patcher.model).__name__} ({patcher.model.model_type.name})"
        raise ValueError(
            f"{NAME}: {path.name} is a {kind}, but needs to be Stable Diffusion 1.5, 2 or XL that predicts noise or v. Give such "
            "a checkpoint."
        )
    channels = patcher.model.model_config.unet_config["in_channels"]
    if channels not in (LATENT, 2 * LATENT + 1):
        raise ValueError(
            f"{NAME}: {path.name} takes {channels} input channels, but needs {LATENT} (a text-to-image model) or "
            f"{2 * LATENT + 1} (a JeDi or inpainting model). Give such a checkpoint."
        )
    known, order = said.of_file(patcher), None
    if channels != LATENT:
        # A file that says nothing is one for inpainting: JeDi's own say what they are.
        order = known.channel_order if known is not None and known.channel_order else joint.CHANNEL_ORDERS[1]
    if order not in (None, *joint.CHANNEL_ORDERS):
        raise ValueError(
            f"{NAME}: {path.name} says that its input channels are `{order}`, which is not known. Give another file."
        )
    own = said.KINDS[patcher.model.model_type]
    prediction = known.prediction if known is not None and known.prediction else own
    return Base(patcher, clip, vae, path, channels, order, prediction, _known_by(patcher, path))


def _known_by(patcher, path: Path) -> str:
    """The file's name and a hash of blocks all over it; of a model that came without one, of its first and last weights."""
    if path.is_file():
        size, blocks = path.stat().st_size, []
        with path.open("rb") as file:
            for number in range(BLOCKS):
                file.seek(size * number // BLOCKS)
                blocks.append(file.read(BLOCK))
        return f"{path.name} ({name_of((size, *blocks))[:16]})"
    network = patcher.model.diffusion_model
    return f"weights {name_of((network.input_blocks[0][0].weight, *network.out[-1].parameters()))[:16]}"


def widened(weight: torch.Tensor, order: str | None) -> torch.Tensor:
    """A first convolution's weight [outputs, 4 or 9, 3, 3] with 9 inputs in JeDi's order: noisy, reference, mask.

    order: of 9 inputs. New ones are zero, so that the model is what it was.
    """
    if order is None:
        return torch.cat((weight, weight.new_zeros(len(weight), LATENT + 1, *weight.shape[2:])), dim=1)
    if order == joint.CHANNEL_ORDERS[0]:
        return weight.clone()
    return weight[:, [*range(LATENT), *range(LATENT + 1, 2 * LATENT + 1), LATENT]].contiguous()


def show_references(weight: torch.Tensor) -> None:
    """Let a widened first convolution see references from the start: their weights become SEEN of those of the noisy picture."""
    with torch.no_grad():
        weight[:, LATENT : 2 * LATENT] = SEEN * weight[:, :LATENT]


def narrowed(weight: torch.Tensor, order: str | None) -> torch.Tensor:
    """A weight of 9 inputs in JeDi's order in ``order``, the inverse of `widened` but for new inputs, which stay."""
    if order != joint.CHANNEL_ORDERS[1]:
        return weight
    return weight[:, [*range(LATENT), 2 * LATENT, *range(LATENT, 2 * LATENT)]].contiguous()
