"""The callable layer: of many pictures of one subject those that are nearest to a prompt (JeDi, section 8)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import folder_paths
import torch

from ...data import captions as texts
from ...data import pictures as reading
from ...host import catalogue, model_files, weights
from ...joint.references import Reference, gather
from .. import choosing, similarity
from . import files as score_files
from . import index as indexing
from .encoders import Clip, ScoreModels

NODE = "Nearest References"
NONE = "none"
MOST_NAMED = 10
"""Damaged pictures that are named, of those that are counted."""


@dataclass(frozen=True)
class Found:
    """references: the nearest, in the order of choice. names: theirs. said: what was found, in words."""

    references: tuple[Reference, ...]
    names: tuple[str, ...]
    said: str


def folders() -> list[str]:
    """Folders below the host's `input` folder, which pictures may be in, after `none`."""
    return [NONE, *folder_paths.get_input_subfolders()]


def folder_of(name: str) -> Path | None:
    """The folder that a user chose; None for `none`. Raises for one that is not there, or lies elsewhere."""
    if name == NONE:
        return None
    place = Path(folder_paths.get_input_directory())
    if model_files.is_inside(name) and os.path.isdir(path := place.joinpath(*name.split("/"))):
        return path
    raise ValueError(
        f"{NODE}: `folder` is `{str(name)[:200]}`, which is no folder in {place}. Put the folder with the pictures there."
    )


def stamps(name: str) -> tuple:
    """Changes when the pictures of the folder do, or their captions."""
    path = folder_of(name)
    every = [] if path is None else [each for file in indexing.files(path) for each in (file, file.with_suffix(".txt"))]
    return weights.stamps(*(each for each in every if each.is_file()))


def find(
    models: ScoreModels, folder: Path | None, batch: Sequence[torch.Tensor], prompt: str, count: int, diversity: float,
    caption: str = "", fit: str = "crop", background: str = "grey",
) -> Found:  # fmt: skip
    """The ``count`` pictures of a folder, or of ``batch`` [H, W, 3] in 0..1, that are nearest to ``prompt`` by CLIP.

    diversity: in 0..1, see `choosing.nearest`. A picture's caption is the text file of its name beside it, else ``caption``.
    Damaged files are left out and named. Raises ValueError where there are no pictures, both folder and batch, or no CLIP.
    """
    clip = _clip(models)
    if (folder is None) == (not len(batch)):
        what = "neither" if folder is None else "both"
        raise ValueError(
            f"{NODE}: `folder` and `image` are {what} given, but one is needed. Choose a folder, or connect pictures."
        )
    notes = []
    if folder is None:
        names = tuple(f"picture {number}" for number in range(1, len(batch) + 1))
        embeddings = clip.pictures(map(reading.as_picture, batch), len(batch))
    else:
        index = indexing.index(folder, clip)
        names, embeddings = index.names, index.embeddings
        notes += _skipped(index.skipped)
        if not names:
            raise ValueError(
                f"{NODE}: {folder} holds no picture that can be read ({', '.join(reading.SUFFIXES)}). " + "".join(notes)
                + "Put pictures of the subject there."
            )  # fmt: skip
    text, long = clip.texts([prompt])
    to_text = similarity.to_own_text(embeddings, text)
    chosen = choosing.nearest(to_text, embeddings @ embeddings.T, count, diversity)
    notes += ["CLIP reads only the first 77 tokens of the prompt."] * bool(long)
    notes += [f"{count} were wanted, but there are {len(names)}."] * (count > len(names))
    if folder is None:
        shown, captions = [batch[place] for place in chosen], [caption] * len(chosen)
    else:
        shown = [_open(folder / names[place]) for place in chosen]
        captions = [_caption(folder / names[place], caption, notes) for place in chosen]
    lines = [f"{names[place]}: {to_text[place]:.4f}" for place in chosen]
    said = "\n".join((f"{len(chosen)} of {len(names)} pictures, with CLIP-T:", *lines, *notes))
    return Found(gather(shown, [], captions, fit, background), tuple(names[place] for place in chosen), said)


def _clip(models: ScoreModels) -> Clip:
    if models.clip is None:
        raise ValueError(
            f"{NODE}: `models` has no CLIP, which compares pictures with the prompt. Choose one in {score_files.NODE}. "
            + catalogue.where_to_get("clip-vit-base-patch32/pytorch_model.bin", f"models/{score_files.FOLDER}")
        )
    return models.clip


def _open(path: Path) -> torch.Tensor:
    try:
        return reading.tensor(indexing.open_picture(path))
    except reading.Damaged as problem:
        raise ValueError(f"{NODE}: {path.name} has changed since it was looked at: {problem}. Run it again.") from problem


def _caption(picture: Path, otherwise: str, notes: list[str]) -> str:
    text = picture.with_suffix(".txt")
    try:
        return texts.read(text) or otherwise
    except OSError:
        return otherwise
    except reading.Damaged as problem:
        notes.append(f"1 left out as damaged: {text.name}: {problem}. ")
        return otherwise


def _skipped(skipped: dict[str, str]) -> list[str]:
    if not skipped:
        return []
    named = "; ".join(f"{name}: {why}" for name, why in list(skipped.items())[:MOST_NAMED])
    more = f"; and {len(skipped) - MOST_NAMED} more" if len(skipped) > MOST_NAMED else ""
    return [f"{len(skipped)} left out as damaged: {named}{more}. "]
