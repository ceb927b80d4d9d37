"""Where Train Joint Model reads from and writes to: folders of the host alone, since whoever reaches the server can queue it."""

from __future__ import annotations

import os
from pathlib import Path

import folder_paths

from ...host import model_files
from .base import NAME

LONGEST = 60
"""Characters of a name: what every file system takes, whatever the characters."""
DATA = "datasets"
"""The host's model folder for data, beside its input and output folders."""


def allowed() -> list[Path]:
    """Folders that data may lie in."""
    known = folder_paths.folder_names_and_paths.get(DATA, ([], ()))[0]
    return [Path(folder) for folder in (folder_paths.get_input_directory(), folder_paths.get_output_directory(), *known)]


def data_problem(data: str) -> str | None:
    """Why a text of sources, one a line, cannot be taken; None if it can, whether or not they are there."""
    lines = [line.strip() for line in data.splitlines() if line.strip()]
    if not lines:
        return f"{NAME}: `data` is empty. Write a folder of sets in ComfyUI's input folder, one source a line."
    for line in lines:
        try:
            _inside(line)
        except ValueError as problem:
            return str(problem)
    return None


def sources(data: str) -> list[str]:
    """A text of sources, one a line, as `data.opening.open_source` takes them. Raises ValueError for what lies elsewhere."""
    if problem := data_problem(data):
        raise ValueError(problem)
    return [_inside(line.strip()) for line in data.splitlines() if line.strip()]


def _inside(line: str) -> str:
    kind, colon, rest = line.partition(":")
    kind, given = (f"{kind}:", rest) if colon and kind.isalnum() and len(kind) > 1 else ("", line)
    # Made whole by its text alone: `..` is not followed, a link that the owner of a folder put there is.
    paths = [(Path(os.path.abspath(folder / given)), Path(os.path.abspath(folder))) for folder in allowed()]
    inside = [path for path, folder in paths if path.is_relative_to(folder)]
    for path in inside:
        if os.path.exists(path):
            return f"{kind}{path}"
    where = "is not in" if inside else "lies outside of"
    raise ValueError(
        f"{NAME}: `data` names {given}, which {where} {' or '.join(dict.fromkeys(str(folder) for _, folder in paths))}. Sources "
        "are read from there alone: put it there, or a link to it."
    )


def output(name: str) -> Path:
    """The LoRA's file in the first of the host's folders for them. Raises ValueError for a name that leaves it."""
    if problem := name_problem(name):
        raise ValueError(problem)
    return Path(folder_paths.get_folder_paths("loras")[0]) / f"{name.removesuffix('.safetensors')}.safetensors"


def name_problem(name: str) -> str | None:
    """Why no LoRA can have this name; None if one can."""
    stem = name.removesuffix(".safetensors")
    if model_files.is_inside(stem) and Path(stem).name.strip(". ") and not set('<>:"|?*') & set(stem) and len(stem) <= LONGEST:
        return None
    return f"{NAME}: `name` is {name[:LONGEST]!r}, which cannot be a file's name in models/loras. Give another, such as `my toy`."


def state_folder(name: str = "") -> Path:
    """Where states of runs are kept, to go on from; that of a LoRA's ``name``, in folders as its own."""
    return Path(folder_paths.get_output_directory()) / "training" / Path(name).parent


def cache() -> Path:
    """Where latents and texts are kept between runs."""
    return state_folder() / "cache"
