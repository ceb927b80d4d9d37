"""Weight files in the host's model folders: where they are, reading them, and handing over what they hold."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path, PureWindowsPath

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


def names(category: str) -> list[str]:
    """Files in the folders of a category, below them, with / on every system; the host lists links that lead nowhere, too."""
    return [name.replace(os.sep, "/") for name in folder_paths.get_filename_list(category)]


def folders_with(category: str, file: str) -> list[str]:
    """Folders below those of a category that hold a ``file``."""
    return [name.removesuffix(f"/{file}") for name in names(category) if name.endswith(f"/{file}")]


def candidates(category: str, name) -> list[Path]:
    """Where a file or folder of this name would be, in each folder of a category; nowhere if the name leads out of them."""
    folders = folder_paths.get_folder_paths(category) if is_inside(name) else ()
    return [Path(folder, *name.split("/")) for folder in folders]


def is_inside(name) -> bool:
    """Whether a name stays within the folder that it is looked for in, on every system."""
    path = PureWindowsPath(name if isinstance(name, str) else "")
    return bool(path.parts) and not path.anchor and ".." not in path.parts and "\0" not in name


def read(path: Path) -> dict[str, torch.Tensor]:
    """The weights in a file, by name; a pickle may hold parts that are dicts of weights, too.

    Nothing in it can run. Raises ValueError with the file's name and what is wrong with it, NaN and infinity included.
    """
    try:
        _check_unpacked(path)
        state = comfy.utils.load_torch_file(str(path), safe_load=True)
        _check_weights(state, path.stat().st_size)
        return state
    except Exception as problem:
        raise ValueError(
            f"{path.name} ({path.stat().st_size} bytes) cannot be read: {first_line(problem)}. It is damaged, is no file of "
            "weights, or holds code, which is never run"
        ) from problem


def _check_unpacked(path: Path) -> None:
    """Refuse a zip that unpacks to more than it is: torch packs nothing, and gigabytes of zeros fit into a megabyte."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as packed:
            unpacked = sum(entry.file_size for entry in packed.infolist())
        if unpacked > path.stat().st_size:
            raise ValueError(f"it is a zip that unpacks to {unpacked} bytes")


def _check_weights(state, size: int) -> None:
    """size: bytes of the file. A pickle can hold one number as a weight of any shape."""
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        raise ValueError(f"it holds a {type(state).__name__} instead of weights with names")
    parts = {key: value for key, value in state.items() if isinstance(value, dict)}
    within = [(f"{part}.{key}", value) for part, values in parts.items() for key, value in values.items()]
    for name, value in (*state.items(), *within):
        if torch.is_tensor(value) and value.numel() * value.element_size() > size:
            raise ValueError(f"its weight `{name}` {tuple(value.shape)} is larger than the file")
        if torch.is_tensor(value) and value.is_floating_point() and value.numel():
            low, high = (value.float() if value.element_size() == 1 else value).aminmax()  # NaN stays one in both
            if not (low.isfinite() and high.isfinite()):
                raise ValueError(f"`{name}` holds NaN or infinity")


def managed(network: torch.nn.Module) -> comfy.model_patcher.ModelPatcher:
    """A network that the host moves between devices. Its `device` must be free to set, so it may have no such property."""
    device, offload = comfy.model_management.get_torch_device(), comfy.model_management.unet_offload_device()
    return comfy.model_patcher.ModelPatcher(network, load_device=device, offload_device=offload)


def shapes_of(network: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights that a network of the host needs, in its own order.

    With DynamicVRAM the host's linear layers have no weights until they are loaded, and load those of any shape, so that only
    their sizes tell what they need.
    """
    found = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    places = {}
    for place, (name, part) in enumerate(network.named_modules(remove_duplicate=False)):
        places[name] = place
        if isinstance(part, torch.nn.Linear):
            found[f"{name}.weight"] = (part.out_features, part.in_features)
            if part.bias is not None or getattr(part, "comfy_need_lazy_init_bias", False):
                found[f"{name}.bias"] = (part.out_features,)
    return dict(sorted(found.items(), key=lambda item: places.get(item[0].rpartition(".")[0], 0)))


def first_line(problem: Exception) -> str:
    """What an exception says, in one line without a full stop."""
    line = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
    return re.sub(r"<class '([\w.]+)'>", r"\1", line).rstrip(":.")
