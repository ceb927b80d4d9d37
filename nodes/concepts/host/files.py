"""Where the detector's and the segmenter's files are, and reading them so that nothing in them can run."""

from __future__ import annotations

import os
from pathlib import Path

import folder_paths
import torch

from ...host import catalogue, model_files, published, weights

DETECTORS, SEGMENTERS = "grounding-dino", "sams"
OTHER_FOLDERS = {DETECTORS: ("groundingdino",), SEGMENTERS: ()}
"""Folders under other names that people already have their files in."""
KIND = "grounding-dino"
"""`model_type` in the configuration of a detector's folder."""
DETECTOR_EXTENSIONS = {".pth", ".json", ".safetensors", ".bin", ".txt"}
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
LOADERS = {DETECTORS: "Load Grounding DINO", SEGMENTERS: "Load Segment Anything"}


def register() -> None:
    """Tell the host about the folders."""
    for name, extensions in ((DETECTORS, DETECTOR_EXTENSIONS), (SEGMENTERS, {".pth"})):
        model_files.register(name, extensions, others=OTHER_FOLDERS[name])


def detector_names() -> list[str]:
    """Original checkpoints and published folders that are there."""
    folders = (name for name in model_files.folders_with(DETECTORS, "config.json") if published.may_be(DETECTORS, name, KIND))
    return list(dict.fromkeys((*_checkpoints(DETECTORS), *folders)))


def segmenter_names() -> list[str]:
    """Segment Anything files that are there."""
    return _checkpoints(SEGMENTERS)


def _checkpoints(category: str) -> list[str]:
    """Original checkpoints that are there."""
    given = (name for name in model_files.names(category) if name.endswith(".pth"))
    return [name for name in given if any(path.is_file() for path in model_files.candidates(category, name))]


def find(category: str, name: str) -> Path:
    """The file or folder that a user chose, a link included. Raises with the folders that were searched and where to get it.

    The name must not lead out of the folders; where a link in them leads is its owner's choice.
    """
    link = ""
    for path in model_files.candidates(category, name):
        if os.path.isfile(path) or os.path.isfile(path / "config.json"):
            return path
        if os.path.islink(path):
            link = f" {path} is a link to {os.readlink(path)}, which is not there."
    shown = str(name)[:200]
    file = shown if shown.endswith(".pth") else f"{shown}/model.safetensors"
    raise ValueError(
        f"{LOADERS[category]}: `file` is `{shown}`, which is in none of {folder_paths.get_folder_paths(category)}.{link} "
        f"{catalogue.where_to_get(file, f'models/{category}')}"
    )


def check(category: str, name: str) -> None:
    """Raise if a file or folder that a user chose is not there, or lacks what a detector needs beside it."""
    path = find(category, name)
    if category == DETECTORS:
        tokenizer_file(path)
        if path.is_dir():
            part_of(path, WEIGHTS)


def part_of(folder: Path, names: tuple[str, ...]) -> Path:
    """The first of these files that a published folder has. Raises with the folder and where to get the first."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise ValueError(
        f"{LOADERS[DETECTORS]}: {folder} has no {' or '.join(f'`{name}`' for name in names)}. "
        f"{catalogue.where_to_get(f'{folder.name}/{names[0]}', f'models/{DETECTORS}')}"
    )


def tokenizer_file(path: Path) -> Path:
    """The tokenizer's file for a detector: in its own folder, or in `bert-base-uncased` beside it. Never from elsewhere."""
    folders = [path] if path.is_dir() else [path.parent, *(root / "bert-base-uncased" for root in path.parents[:2])]
    for folder in folders:
        for name in ("tokenizer.json", "vocab.txt"):
            if (folder / name).is_file():
                return folder / name
    remedy = catalogue.where_to_get("bert-base-uncased/vocab.txt", f"models/{DETECTORS}")
    raise ValueError(
        f"{LOADERS[DETECTORS]}: `{path.name}` needs the tokenizer of bert-base-uncased, but there is no `tokenizer.json` or "
        f"`vocab.txt` in {', '.join(map(str, folders))}. {remedy}"
    )


def read_weights(path: Path, node: str) -> dict[str, torch.Tensor]:
    """The weights in a file; what else a pickle could hold is refused, not run. Raises with the file's name."""
    try:
        state = model_files.read(path)
    except ValueError as problem:
        raise ValueError(f"{node}: {problem}. Download it again.") from problem
    if not all(map(torch.is_tensor, state.values())):
        raise ValueError(f"{node}: {path.name} holds more than weights. Download it again.")
    return state


def fingerprint(category: str, name: str) -> tuple:
    """Changes when the chosen file does, or any file of the chosen folder."""
    path = find(category, name)
    parts = sorted(path.iterdir()) if path.is_dir() else [path]
    return weights.stamps(*(part for part in parts if part.is_file()))
