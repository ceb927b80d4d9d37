"""Where subject adapters are: files and folders in `models/subject_adapters`, and the one that ships with the pack."""

from __future__ import annotations

import os
import re
from pathlib import Path

import folder_paths

from ...host import inputs, model_files, weights
from .. import about as abouts
from .. import authors

NODE = "Load Subject Adapter"
FOLDER = "subject_adapters"
ENDING = ".safetensors"
DEMO = "demo"
DEMO_FILE = Path(__file__).resolve().parents[3] / "demo" / "subjects.safetensors"
"""What `demo` chooses: it is beside the demo's other models, which stand above this flow."""
PART_FILE = "pytorch_model.bin"
"""Of the authors' four, each in a folder `<part>_0_<step>`."""
FIRST_PART = re.compile(r"unet(_\d+_\d+)")
REMEDY = (
    "The authors of Subject-Diffusion have published no weights: choose `demo`, or a file that was trained with this pack's "
    "research/train_subjects.py or the authors' code"
)


def register() -> None:
    """Tell the host about `models/subject_adapters`."""
    model_files.register(FOLDER, {ENDING, ".bin"})


def names() -> list[str]:
    """What Load Subject Adapter can load: the demo's, files, and the authors' folders of a UNet, each of which names a step."""
    files = [name for name in model_files.names(FOLDER) if name.endswith(ENDING)]
    firsts = model_files.folders_with(FOLDER, PART_FILE)
    return [DEMO, *files, *(name for name in firsts if FIRST_PART.fullmatch(os.path.basename(name)))]


def find(name: str) -> Path:
    """The file, or the folder of the authors' UNet, that a user chose. Raises with the folders that were searched.

    The name must not lead out of them; where a link in them leads is its owner's choice.
    """
    if problem := inputs.name_problem(NODE, "file", name):
        raise ValueError(problem)
    if name == DEMO:
        if not DEMO_FILE.is_file():
            raise ValueError(f"{NODE}: {DEMO_FILE}, which ships with the pack, is not there. Reinstall the pack.")
        return DEMO_FILE
    for path in model_files.candidates(FOLDER, name):
        if path.is_file() and path.suffix == ENDING:
            return path
        if path.is_dir() and FIRST_PART.fullmatch(path.name):
            parts(path)
            return path
    searched = folder_paths.get_folder_paths(FOLDER)
    raise ValueError(f"{NODE}: `file` is `{name[:200]}`, which is in none of {searched}. {REMEDY}, and put it there.")


def parts(folder: Path) -> dict[str, Path]:
    """The authors' four files of the step that the UNet's folder names. Raises for those that are not there."""
    step = folder.name.removeprefix(authors.PARTS[0])
    found = {part: folder.with_name(part + step) / PART_FILE for part in authors.PARTS}
    if missing := [str(path.relative_to(folder.parent)) for path in found.values() if not path.is_file()]:
        raise ValueError(
            f"{NODE}: {folder.parent} lacks {' and '.join(missing)}, but needs the four folders of one step that the authors' "
            "training writes. Copy them there."
        )
    return found


def check(name: str) -> None:
    """Raise, without loading it, if what a user chose is not there or does not say that it is a subject adapter."""
    path = find(name)
    if path.is_file():
        describe(path)


def describe(path: Path) -> abouts.About:
    """What a file in this pack's form says of itself; raises with its name and the remedy."""
    try:
        return abouts.parse(weights.read_metadata(path))
    except ValueError as problem:
        raise ValueError(f"{NODE}: {path.name} cannot be used: {problem}. {REMEDY}.") from problem


def fingerprint(name: str) -> tuple:
    """Changes when the chosen file does, or any of the chosen four."""
    path = find(name)
    return (str(path), *weights.stamps(*(parts(path).values() if path.is_dir() else [path])))
