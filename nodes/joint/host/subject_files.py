"""Files of subjects in `models/subjects`: where they are, reading and writing them, and the pictures they show of themselves."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import folder_paths
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save as as_bytes

from ...host import inputs, model_files, weights
from .. import subjects
from ..references import Reference

FOLDER = "subjects"
ENDING = ".safetensors"
SAID = "same_subject.subject"
"""Key of a file's metadata, with what `subjects.packed` says."""
LOADER, SAVER = "Load Subject", "Save Subject"
SIDE = 256
"""Of the picture that a file shows of itself, in pixels."""
MOST_DESCRIBED = 1000
MOST_NAME = 100


def register() -> None:
    """Tell the host about `models/subjects`."""
    model_files.register(FOLDER, {ENDING})


def names() -> list[str]:
    """Files of the folder."""
    return [name for name in model_files.names(FOLDER) if name.endswith(ENDING)]


def find(name: str) -> Path:
    """The file that a user chose. Raises with the folders that were searched and what to do."""
    if problem := inputs.name_problem(LOADER, "file", name):
        raise ValueError(problem)
    for path in model_files.candidates(FOLDER, name):
        if name.endswith(ENDING) and path.is_file():
            return path
    searched = folder_paths.get_folder_paths(FOLDER)
    raise ValueError(
        f"{LOADER}: `file` is `{name}`, which is in none of {searched}. Put it into the first of these, choose another, or make "
        f"one with {SAVER}."
    )


def check(name: str) -> None:
    """Raise if a file that a user chose is not there, or says that it is something else than a subject."""
    _header(find(name))


def read(path: Path) -> tuple[Reference, ...]:
    """The references of a file, bit for bit as they were saved. Read as safetensors only; raises with the file's name."""
    said = _header(path)
    try:
        with safe_open(str(path), "pt") as file:
            return subjects.unpacked(said, file.keys(), file.get_tensor)
    except Exception as problem:  # the package raises a type of its own
        raise ValueError(_refused(path, model_files.first_line(problem))) from problem


def save(references: Sequence[Reference], name: str) -> Path:
    """Write a file that is not there yet, with the next free number behind ``name``, which may begin with folders.

    Raises ValueError where there is no reference, or the name leads out of the folder.
    """
    if not references:
        raise ValueError(f"{SAVER}: `references` is empty, but needs at least one picture. Connect Reference Pictures.")
    if len(references) > subjects.MOST_REFERENCES:
        raise ValueError(f"{SAVER}: {len(references)} pictures were given, but a subject has at most {subjects.MOST_REFERENCES}.")
    if wrong := name_problem(name):
        raise ValueError(wrong)
    if not all(map(subjects.is_kept, references)):
        raise ValueError(
            f"{SAVER}: a caption has more than {subjects.MOST_LETTERS} letters, or a strength is above {subjects.MOST_STRENGTH}. "
            "Shorten or lower it."
        )
    root = folder_paths.get_folder_paths(FOLDER)[0]
    try:
        folder, stem, number, _, _ = folder_paths.get_save_image_path(name.strip(), root)
        return _written(content(references, stem), Path(folder), stem, number)
    except Exception as problem:  # the host raises one without a type where a link leads out of the folder
        said = model_files.first_line(problem)
        raise ValueError(
            f"{SAVER}: `{name}` cannot be written in {root}: {said}. Choose another `name`, or make room."
        ) from problem


def content(references: Sequence[Reference], title: str) -> bytes:
    """What a file of references holds. title: what the frontend's model library calls it."""
    tensors, said = subjects.packed(references)
    return as_bytes(tensors, {**_shown(references, title), SAID: said})


def _written(content: bytes, folder: Path, stem: str, number: int) -> Path:
    """Write a new file with the first free number from ``number`` on; what fails leaves none."""
    while True:
        path = folder / f"{stem}_{number:05}_{ENDING}"
        try:
            with open(path, "xb") as file:
                try:
                    file.write(content)
                    return path
                except OSError:
                    path.unlink()
                    raise
        except FileExistsError:
            number += 1


def name_problem(name) -> str | None:
    """Why ``name`` cannot be what a new file's name begins with; None if it can."""
    plain = inputs.text_problem(SAVER, "name", name)
    if plain or name is None:
        return plain
    good = inputs.name_problem(SAVER, "name", name) is None and len(name) <= MOST_NAME and model_files.is_inside(name.strip())
    if good and name.strip().isprintable() and not set(':*?"<>|') & set(name):
        return None
    return (
        f"{SAVER}: `name` is `{ascii(name)[1:101]}`, but needs to be a file's name of 1 to {MOST_NAME} letters that stays in "
        f"models/{FOLDER}. Type one such as `rex` or `dogs/rex`."
    )


def sheet(references: Sequence[Reference], side: int = SIDE) -> torch.Tensor:
    """The first picture, or the first two to four, as one picture [side, side, 3] without gaps."""
    shown = references[:4]
    lines = [shown] if len(shown) < 3 else [shown[:2], shown[2:]]
    tall = side // len(lines)
    strips = [[replace(one, fit="crop").fitted(side // len(line), tall).float() for one in line] for line in lines]
    return torch.cat([torch.cat(strip, dim=1) for strip in strips])


def _shown(references: Sequence[Reference], title: str) -> dict[str, str]:
    """What the frontend's model library shows of a file: title, captions, a picture."""
    jpeg = io.BytesIO()
    Image.fromarray((sheet(references) * 255).round().clamp(0, 255).byte().cpu().numpy()).save(jpeg, "JPEG", quality=85)
    picture = base64.b64encode(jpeg.getvalue()).decode()
    captions = "; ".join(dict.fromkeys(one.caption for one in references if one.caption))[:MOST_DESCRIBED]
    return {
        "modelspec.title": title,
        "modelspec.description": f"{len(references)} reference picture{'s' * (len(references) != 1)}. {captions}",
        "modelspec.thumbnail": f"data:image/jpeg;base64,{picture}",
        "ssmd_cover_images": json.dumps([picture]),
    }


def _header(path: Path) -> str:
    """What a file says of its references. Raises with the file's name if it is no subject."""
    try:
        said = weights.read_metadata(path)
    except ValueError as problem:
        raise ValueError(f"{LOADER}: {model_files.first_line(problem)}. Copy it again, or make one with {SAVER}.") from problem
    if SAID not in said:
        raise ValueError(_refused(path, "it is a safetensors file of something else"))
    return said[SAID]


def _refused(path: Path, problem: str) -> str:
    return f"{LOADER}: {path.name} is no subject: {problem}. Choose another file, or make one with {SAVER}."
