"""Captions of pictures by BLIP-2 (Li et al., 2023) in transformers' implementation, from a folder of files on this machine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import comfy.model_management
import folder_paths
import torch
from PIL import Image

from ...data import pictures as reading
from ...host import catalogue, model_files, weights

MOST_TOKENS, BEAMS = 30, 5
"""As in the captioning settings of BLIP-2's authors."""
ACTIVATIONS = 2 * 2**30
"""Bytes that it needs beside its weights; an estimate for the host."""
FOLDER, NODE = "blip2", "Caption Pictures"
PROMPTS = "none: the prompts"
"""The choice of no model."""

_kept: dict[tuple, Captioner] = {}
"""The model of the last execution, by its folder and the stamps of its files: a graph is run once a collage."""


def register() -> None:
    """Tell the host about the folder."""
    model_files.register(FOLDER, {".json", ".safetensors", ".bin"})


def names() -> list[str]:
    """No model, and the published folders that are there."""
    return [PROMPTS, *sorted(set(model_files.folders_with(FOLDER, "config.json")))]


def find(name: str) -> Path | None:
    """The folder that a user chose, None for no model. Raises ValueError with the folders that were searched."""
    if name == PROMPTS:
        return None
    for path in model_files.candidates(FOLDER, name):
        if path.is_dir():
            return path
    shown = str(name)[:200]
    raise ValueError(
        f"{NODE}: `model` is `{shown}`, which is in none of {folder_paths.get_folder_paths(FOLDER)}. "
        f"{catalogue.where_to_get(f'{shown}/config.json', f'models/{FOLDER}')}"
    )


class CaptioningNetwork(torch.nn.Module):
    """The network as the host's ModelPatcher needs it: a module whose `device` can be set."""

    def __init__(self, network: Any):
        super().__init__()
        self.network = network


class Captioner:
    """Writes a caption for each picture. folder: as published, with its configuration, weights, tokenizer and preprocessor.

    Raises ValueError where it is not that.
    """

    def __init__(self, folder: Path):
        from transformers import AutoProcessor, Blip2ForConditionalGeneration

        if not (folder / "config.json").is_file():
            raise ValueError(f"{folder} holds no BLIP-2: it has no config.json. Give a folder as published.")
        half = comfy.model_management.get_torch_device().type == "cuda"
        try:
            self.processor: Any = AutoProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            network: Any = Blip2ForConditionalGeneration.from_pretrained(
                folder, local_files_only=True, dtype=torch.float16 if half else torch.float32
            )
        except (OSError, ValueError, KeyError, RuntimeError, TypeError) as problem:
            raise ValueError(
                f"{folder} cannot be used as a BLIP-2: {model_files.first_line(problem)}. Download it again, all files of "
                "one model into one folder."
            ) from problem
        self.patcher = model_files.managed(CaptioningNetwork(network.eval().requires_grad_(False)))

    @torch.no_grad()
    def __call__(self, picture: Image.Image) -> str:
        """What an RGB picture shows, in one line without a full stop."""
        comfy.model_management.load_models_gpu([self.patcher], memory_required=ACTIVATIONS, force_full_load=True)
        network = self.patcher.model.network
        weight = next(network.parameters())
        seen = self.processor(images=picture, return_tensors="pt").to(weight.device, weight.dtype)
        tokens = network.generate(**seen, max_new_tokens=MOST_TOKENS, num_beams=BEAMS, do_sample=False)
        return " ".join(self.processor.batch_decode(tokens, skip_special_tokens=True)[0].split()).rstrip(" .")


def stamps(folder: Path) -> tuple:
    """What changes when a file of a folder does."""
    return weights.stamps(*(path for path in sorted(folder.iterdir()) if path.is_file()))


def captions(folder: Path, pictures: Iterable[torch.Tensor]) -> list[str]:
    """What each of pictures [H, W, 3] in 0..1 shows, by the BLIP-2 of a folder. Raises ValueError where it is none.

    The model is kept until another is asked for, or `forget` is called.
    """
    wanted = folder, stamps(folder)
    if wanted not in _kept:
        forget()  # before another is read, so that there is memory for one only
        _kept[wanted] = Captioner(folder)
    return [_kept[wanted](reading.as_picture(picture)) for picture in pictures]


def forget() -> None:
    """Keep no model."""
    _kept.clear()
