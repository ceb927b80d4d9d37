"""CLIP (Radford et al., 2021) and DINO (Caron et al., 2021) in transformers' implementation, on the host's memory management.

Nothing is fetched: weights and sizes come from a published folder, CLIP's words from the host's own copy of them.
"""

from __future__ import annotations

import functools
import html
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.sd1_clip
import comfy.utils
import torch
from PIL import Image

from ...host import model_files, published
from .. import encoder_config, preprocessing, similarity
from . import files

AT_ONCE = 16
BYTES_A_PIXEL = 1500
"""Memory of activations for each pixel that a network sees, in float32; an estimate for the host."""
COMPUTED = ("position_ids",)
"""Ends of names that older files hold and the network computes."""


@dataclass(frozen=True, eq=False)
class Encoder:
    """patcher: holds the network. seeing: how it sees pictures. name, stamp: of its folder."""

    patcher: comfy.model_patcher.ModelPatcher
    seeing: preprocessing.Seeing
    name: str
    stamp: tuple

    def pictures(self, pictures: Iterable[Image.Image], count: int) -> torch.Tensor:
        """Embeddings [B, D] of length 1 of RGB pictures of any sizes, ``count`` at most, on the CPU; a few at a time."""
        progress = comfy.utils.ProgressBar(max(1, count))
        device, seen = self._loaded(), (self.seeing.prepared(picture) for picture in pictures)
        made = []
        while batch := list(islice(seen, AT_ONCE)):
            comfy.model_management.throw_exception_if_processing_interrupted()
            with torch.no_grad():
                made.append(similarity.unit(self.patcher.model(torch.stack(batch).to(device))).cpu())
            progress.update(len(batch))
        return torch.cat(made) if made else torch.zeros(0, 1)

    def _loaded(self) -> torch.device:
        needed = AT_ONCE * self.seeing.side**2 * BYTES_A_PIXEL
        comfy.model_management.load_models_gpu([self.patcher], memory_required=needed, force_full_load=True)
        return next(self.patcher.model.parameters()).device  # with --novram the host leaves it where it was


@dataclass(frozen=True, eq=False)
class Clip(Encoder):
    """CLIP, which reads texts, too."""

    def texts(self, texts: Sequence[str]) -> tuple[torch.Tensor, list[int]]:
        """Embeddings [T, D] of length 1 on the CPU, and numbers from 1 of texts that are longer than CLIP reads (77 tokens).

        Of those the beginning is read.
        """
        plain = [html.unescape(html.unescape(text)).strip() for text in texts]  # as OpenAI's tokenizer does
        every = words()(plain, add_special_tokens=True)["input_ids"]
        end = every[0][-1]
        cut = [[*ids[:-1][: encoder_config.CONTEXT - 1], end] for ids in every]
        longest = max(map(len, cut))
        padded = torch.tensor([ids + [end] * (longest - len(ids)) for ids in cut])
        device = self._loaded()
        with torch.no_grad():
            made = [self.patcher.model.read(part.to(device)).cpu() for part in padded.split(AT_ONCE)]
        return similarity.unit(torch.cat(made)), [n for n, ids in enumerate(every, 1) if len(ids) > encoder_config.CONTEXT]


@dataclass(frozen=True, eq=False)
class ScoreModels:
    """What scores are measured with; None is one that was not loaded."""

    clip: Clip | None
    dino: Encoder | None


class ClipNetwork(torch.nn.Module):
    """The network as the host's ModelPatcher needs it: a module whose `device` can be set."""

    def __init__(self, network: Any):
        super().__init__()
        self.network = network

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """pictures: [B, 3, H, W], normalised. Returns [B, D]."""
        return self.network.visual_projection(self.network.vision_model(pixel_values=pictures).pooler_output)

    def read(self, ids: torch.Tensor) -> torch.Tensor:
        """ids: [T, tokens], padded behind the first end. Returns [T, D]; attention is causal, so what pads is not seen."""
        return self.network.text_projection(self.network.text_model(input_ids=ids).pooler_output)


class DinoNetwork(torch.nn.Module):
    """The same for DINO, whose embedding is its class token."""

    def __init__(self, network: Any):
        super().__init__()
        self.network = network

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """pictures: [B, 3, H, W], normalised. Returns [B, D]."""
        return self.network(pixel_values=pictures).last_hidden_state[:, 0]


@functools.cache
def words() -> Callable:
    """CLIP's tokenizer, from the host's copy."""
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(Path(comfy.sd1_clip.__file__).parent / "sd1_tokenizer", local_files_only=True)


def load_clip(path: Path) -> Clip:
    """CLIP from a published folder. Raises with the folder, what is wrong, and the remedy."""
    from transformers import CLIPConfig, CLIPModel

    config, state = files.read(path)
    with _refusing(path):
        sizes = encoder_config.clip(config)
        network = published.network(CLIPModel, CLIPConfig(**sizes), _without(state, COMPUTED))
    side = sizes["vision_config"]["image_size"]
    return Clip(model_files.managed(ClipNetwork(network)), preprocessing.clip(side), path.name, files.stamps(path))


def load_dino(path: Path) -> Encoder:
    """DINO from a published folder; its pooler, which was never trained, is left out. Raises as `load_clip`."""
    from transformers import ViTConfig, ViTModel

    config, state = files.read(path)
    state = {key: value for key, value in state.items() if not key.startswith("pooler.")}
    with _refusing(path):
        sizes = encoder_config.dino(config)
        network = published.network(ViTModel, ViTConfig(**sizes), _without(state, COMPUTED), add_pooling_layer=False)
    seeing = preprocessing.dino(sizes["image_size"])
    return Encoder(model_files.managed(DinoNetwork(network)), seeing, path.name, files.stamps(path))


def load(clip: str, dino: str) -> ScoreModels:
    """Both from their folders' names in `models/scores`; `none` leaves one out. Raises ValueError where both are left out."""
    if clip == dino == files.NONE:
        raise ValueError(f"{files.NODE}: `clip` and `dino` are both {files.NONE}, but scores need at least one. Choose one.")
    return ScoreModels(
        None if clip == files.NONE else load_clip(files.find(files.CLIP, clip)),
        None if dino == files.NONE else load_dino(files.find(files.DINO, dino)),
    )


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    try:
        yield
    except ValueError as problem:
        raise ValueError(
            f"{files.NODE}: {path} cannot be used: {problem}. Download it again, all files of one model into one folder."
        ) from problem


def _without(state: dict[str, torch.Tensor], ends: tuple[str, ...]) -> dict[str, torch.Tensor]:
    return {key: value for key, value in state.items() if not key.endswith(ends)}
