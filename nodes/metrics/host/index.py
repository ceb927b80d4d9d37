"""Embeddings of the pictures of a folder, kept on disk for as long as the files stay what they are."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import folder_paths
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ...data import pictures
from ...data.whole_files import whole
from .encoders import Encoder

KEPT = ("same_subject", "scores")
"""Folders below the host's folder for users' files."""
MOST_BYTES = 2**30
"""A larger file is no picture that is read."""


class Unread(pictures.Damaged):
    """A file that could not be read this time: it says nothing of the picture, and is tried again the next time."""


@dataclass(frozen=True)
class Index:
    """What a folder holds: names of pictures in order, their embeddings [B, D], and why others were left out, by name."""

    names: tuple[str, ...]
    embeddings: torch.Tensor
    skipped: dict[str, str]
    read: int
    """How many pictures had to be looked at now."""


def index(folder: Path, encoder: Encoder) -> Index:
    """The pictures right in ``folder``, in the order of their names. Those that did not change since are not read again."""
    stamps = {path.name: _stamp(path) for path in files(folder)}
    place = kept_in(folder, encoder)
    known, vectors, damaged = _read(place)
    same = {name: row for row, (name, stamp) in enumerate(known.items()) if stamps.get(name) == stamp}
    skipped = {name: why for name, (stamp, why) in damaged.items() if stamps.get(name) == stamp}
    fresh = [name for name in stamps if name not in same and name not in skipped]
    opened: list[str] = []
    unread: dict[str, str] = {}

    def readable() -> Iterator[Image.Image]:
        for name in fresh:
            try:
                picture = open_picture(folder / name)
            except pictures.Damaged as problem:
                (unread if isinstance(problem, Unread) else skipped)[name] = str(problem)
                continue
            opened.append(name)
            yield picture

    made = encoder.pictures(readable(), len(fresh)) if fresh else None
    rows = {name: vectors[row] for name, row in same.items()}
    rows |= dict(zip(opened, made if made is not None else (), strict=True))
    names = tuple(name for name in stamps if name in rows)
    embeddings = torch.stack([rows[name] for name in names]) if names else torch.zeros(0, 1)
    if fresh or len(same) < len(known) or len(skipped) < len(damaged):
        _write(place, {name: stamps[name] for name in names}, embeddings, {n: (stamps[n], why) for n, why in skipped.items()})
    return Index(names, embeddings, dict(sorted((skipped | unread).items())), len(fresh))


def files(folder: Path) -> list[Path]:
    """Files of ``folder`` that pictures may be in, by their endings, sorted by name."""
    found = (path for path in folder.iterdir() if path.suffix.lower() in pictures.SUFFIXES and path.is_file())
    return sorted(found, key=lambda path: path.name)


def open_picture(path: Path) -> Image.Image:
    """A picture file, RGB and upright. Raises `pictures.Damaged`; `Unread` where it is the reading that failed."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise pictures.Damaged(f"it has {path.stat().st_size} bytes, but at most {MOST_BYTES} are read")
        data = path.read_bytes()
    except OSError as problem:
        raise Unread(f"it cannot be read: {problem.strerror}") from problem
    return pictures.decode(data)


def kept_in(folder: Path, encoder: Encoder) -> Path:
    """The file with the index of a folder by a network."""
    told = json.dumps([str(folder.resolve()), encoder.name, encoder.stamp, encoder.seeing.side])
    name = hashlib.sha256(told.encode()).hexdigest()[:24]
    return Path(folder_paths.get_user_directory(), *KEPT, f"{name}.safetensors")


def _stamp(path: Path) -> list[int]:
    said = path.stat()
    return [said.st_mtime_ns, said.st_size]


def _read(place: Path) -> tuple[dict[str, list[int]], torch.Tensor, dict[str, tuple[list[int], str]]]:
    """Stamps by name, embeddings in the same order, and what was damaged; nothing where there is no index that can be read."""
    try:
        with safe_open(place, "pt") as file:
            said, vectors = json.loads(file.metadata()["index"]), file.get_tensor("embeddings")
        known, damaged = said["pictures"], {name: (stamp, str(why)) for name, (stamp, why) in said.get("refused", {}).items()}
        if len(known) != len(vectors) or not vectors.isfinite().all():
            raise ValueError("it does not fit")
    except (OSError, SafetensorError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}, torch.zeros(0, 1), {}
    return known, vectors, damaged


def _write(place: Path, known: dict, embeddings: torch.Tensor, damaged: dict) -> None:
    said = {"index": json.dumps({"pictures": known, "refused": damaged})}
    with whole(place, f".{uuid.uuid4().hex[:8]}") as part:
        save_file({"embeddings": embeddings.contiguous()}, part, said)
