"""Weight files in the host's model folders: where they are, reading them, and handing over what they hold."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import comfy.model_management
import comfy.model_patcher
import comfy.utils
import folder_paths
import torch


def register(name: str, extensions: Iterable[str], own: Sequence[str] | None = None, others: Sequence[str] = ()) -> None:
    """Tell the host about the model folder ``name``, keeping paths and extensions that a user configured for it.

    extensions: of its files; none, and none configured, lists every file. own: paths, by default `models/<name>`.
    others: names of further folders whose files belong here, too.
    """
    own = own or [os.path.join(folder_paths.models_dir, each) for each in (name, *others)]
    known = [path for each in (name, *others) for path in folder_paths.folder_names_and_paths.get(each, ([], set()))[0]]
    _, wanted = folder_paths.folder_names_and_paths.get(name, ([], set()))
    folder_paths.folder_names_and_paths[name] = (list(dict.fromkeys([*known, *own])), {*wanted, *extensions})


def read(path: Path) -> dict[str, torch.Tensor]:
    """The weights in a file. Nothing in it can run; raises ValueError with the file's name and what is wrong with it."""
    try:
        return comfy.utils.load_torch_file(str(path), safe_load=True)
    except Exception as problem:
        raise ValueError(
            f"{path.name} ({path.stat().st_size} bytes) cannot be read: {first_line(problem)}. It is damaged, is no file of "
            "weights, or holds code, which is never run"
        ) from problem


def managed(network: torch.nn.Module) -> comfy.model_patcher.ModelPatcher:
    """A network that the host moves between devices. Its `device` must be free to set, so it may have no such property."""
    device, offload = comfy.model_management.get_torch_device(), comfy.model_management.unet_offload_device()
    return comfy.model_patcher.ModelPatcher(network, load_device=device, offload_device=offload)


def first_line(problem: Exception) -> str:
    """What an exception says, in one line without a full stop."""
    return (str(problem).strip().splitlines() or [type(problem).__name__])[0].rstrip(":.")
