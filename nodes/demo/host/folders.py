"""Where demo models are found: the pack's own `demo/` and `models/jedi_demo/`."""

from __future__ import annotations

import os
from pathlib import Path

import folder_paths

from ...host import inputs, weights

CATEGORY = "jedi_demo"
PACK = Path(__file__).resolve().parents[3]


def register() -> None:
    """Tell the host about the folders, keeping those that a user configured for the same name."""
    known, _ = folder_paths.folder_names_and_paths.get(CATEGORY, ([], set()))
    own = [str(PACK / "demo"), os.path.join(folder_paths.models_dir, CATEGORY)]
    folder_paths.folder_names_and_paths[CATEGORY] = ([*known, *(path for path in own if path not in known)], {".safetensors"})


def demo_models(config_key: str) -> list[str]:
    """Names of the files that may be demo models: all but those that say that they are something else."""
    return [name for name in folder_paths.get_filename_list(CATEGORY) if _may_be(name, config_key)]


def demo_path(name: str, node: str = "Load Demo Model") -> Path:
    """The file; raises if there is none. node: who speaks in errors."""
    if problem := inputs.name_problem(node, "file", name):
        raise ValueError(problem)
    path = folder_paths.get_full_path(CATEGORY, name)
    if path is None:
        raise ValueError(
            f"{node}: `file` is `{name}`, which is in none of {folder_paths.get_folder_paths(CATEGORY)}. "
            "Choose another file, or put it into one of these folders."
        )
    return Path(path)


def _may_be(name: str, config_key: str) -> bool:
    try:
        return config_key in weights.read_metadata(demo_path(name))
    except ValueError:
        return True
