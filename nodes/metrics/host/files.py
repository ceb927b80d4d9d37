"""Where the networks that score pictures are: published folders in `models/scores`."""

from __future__ import annotations

import os
from pathlib import Path

import folder_paths
import torch

from ...host import catalogue, model_files, published, weights

FOLDER = "scores"
NODE = "Load Score Models"
NONE = "none"
CLIP, DINO = "clip", "dino"
KINDS = {CLIP: "clip", DINO: "vit"}
"""`model_type` in the configuration of each kind's folders."""
DEFAULTS = {CLIP: "clip-vit-base-patch32", DINO: "dino-vits16"}
WEIGHTS = ("model.safetensors", "pytorch_model.bin")


def register() -> None:
    """Tell the host about the folder."""
    model_files.register(FOLDER, {".json", ".safetensors", ".bin"})


def names(kind: str) -> list[str]:
    """The paper's folder, whether it is there or not (so that a message can say where to get it), others that are, and `none`."""
    found = {name for name in model_files.folders_with(FOLDER, "config.json") if published.may_be(FOLDER, name, KINDS[kind])}
    return [DEFAULTS[kind], *sorted(found - {DEFAULTS[kind]}), NONE]


def find(kind: str, name: str) -> Path:
    """The folder that a user chose, whole. Raises with the folders that were searched, or what it lacks, and where to get it."""
    for path in model_files.candidates(FOLDER, name):
        if os.path.isdir(path):  # False, too, for a name that no file can have
            _weights(path)
            if not (path / "config.json").is_file():
                raise ValueError(f"{NODE}: {path} has no `config.json`. {_remedy(path.name, 'config.json')}")
            return path
    shown, searched = str(name)[:200], folder_paths.get_folder_paths(FOLDER)
    raise ValueError(f"{NODE}: `{kind}` is `{shown}`, which is in none of {searched}. {_remedy(shown, WEIGHTS[1])}")


def read(path: Path) -> tuple[dict, dict[str, torch.Tensor]]:
    """Configuration and weights of a folder; nothing in them can run. Raises with the file and the remedy."""
    try:
        config, state = published.read_json(path / "config.json"), model_files.read(_weights(path))
    except ValueError as problem:
        raise ValueError(f"{NODE}: {problem}. Download it again.") from problem
    if not all(map(torch.is_tensor, state.values())):
        raise ValueError(f"{NODE}: {_weights(path)} holds more than weights. Download it again.")
    return config, state


def stamps(path: Path) -> tuple:
    """Changes when the folder's network does."""
    return weights.stamps(path / "config.json", _weights(path))


def _weights(path: Path) -> Path:
    for name in WEIGHTS:
        if (path / name).is_file():
            return path / name
    raise ValueError(f"{NODE}: {path} has no `{WEIGHTS[0]}` or `{WEIGHTS[1]}`. {_remedy(path.name, WEIGHTS[1])}")


def _remedy(folder: str, file: str) -> str:
    return catalogue.where_to_get(f"{folder}/{file}", f"models/{FOLDER}")
