"""Where a listed file is on this machine, and where it would go. What counts as found is what the nodes' loaders accept."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import folder_paths

from ...concepts.host import files as concept_files
from ...metrics.host import files as score_files
from ..wanted import Need

INSTEAD = {
    concept_files.WEIGHTS[0]: concept_files.WEIGHTS[1:],
    score_files.WEIGHTS[1]: score_files.WEIGHTS[:1],
    "tokenizer.json": ("vocab.txt",),
}
"""For a part of a published folder those that do as well."""


def destination(need: Need) -> Path:
    """The folder that a file goes into under its name: the first that the host looks in, or where its companion stands."""
    assert need.folder
    return _homes(need)[0]


def find(need: Need) -> Path | None:
    """A needed file that is listed, or one that does as well; None if there is none."""
    if need.beside:
        return next(filter(None, (_tokenizer(home / PurePosixPath(need.beside).name) for home in _homes(need))), None)
    *within, name = need.name.split("/")
    for home in _homes(need):
        for each in (name, *(INSTEAD.get(name, ()) if within else ())):
            if (path := home.joinpath(*within, each)).is_file():
                return path
    return None


def _homes(need: Need) -> list[Path]:
    """The folders that a need may be in under its name, best first."""
    assert need.folder
    homes = _places(need.folder)
    if not need.beside:
        return homes
    others = [home / need.beside for home in homes]
    return [other.parent for other in [other for other in others if other.is_file()][:1] or others]


def find_all(folder: str, names: Sequence[str]) -> Path | None:
    """The place that holds all these files; one nested in a folder of its own name, as unpacking makes it, is fine."""
    for place in _places(folder):
        for each in (place, place / place.name):
            if all((each / name).is_file() for name in names):
                return each
    return None


def version(package: str, listed: Mapping) -> str | None:
    """The version of an installed package, `installed` where it states none; None if it cannot be imported."""
    try:
        if importlib.util.find_spec(listed["module"]) is None:
            return None
    except (ImportError, ValueError):  # ValueError: a module that is None, or lacks its specification
        return None
    for name in (package, listed["module"]):
        try:
            return f"version {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return "installed"


def _places(folder: str) -> list[Path]:
    """Folders of the host that stand for one such as `models/insightface/models/antelopev2`, best first."""
    _, category, *within = PurePosixPath(folder).parts
    return [Path(place, *within) for place in folder_paths.get_folder_paths(category)]


def _tokenizer(checkpoint: Path) -> Path | None:
    try:
        return concept_files.tokenizer_file(checkpoint)
    except ValueError:
        return None
