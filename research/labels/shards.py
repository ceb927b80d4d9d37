"""Shards of labelled pictures, in WebDataset's form: written whole, and read as a source for training.

A sample has three members: the picture as it came (`.jpg`, `.png` or `.webp`, always upright), `.caption.txt`, and
`.entities.json` with ``height``, ``width``, ``source`` (the picture's name where it came from) and ``entities``, each with
``class``, ``box`` (left, top, right, bottom in shares of the picture's sides), ``score`` and ``mask`` (see `rle`).
"""

from __future__ import annotations

import json
import random
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from ...nodes.data import pictures
from ...nodes.data import shards as tars
from . import entities

CAPTION, ENTITIES, PART = "caption.txt", "entities.json", tars.PART


@dataclass(frozen=True, eq=False)
class Example:
    """A labelled picture. source: its name where it came from. picture: [3, H, W] in 0..1. masks of entities: [H, W]."""

    source: str
    picture: torch.Tensor
    caption: str
    entities: tuple[entities.Entity, ...]


def name(number: int) -> str:
    """The file of shard ``number``, from 0."""
    return f"labels-{number:06d}.tar"


def sample(number: int, record: dict, data: bytes) -> tuple[str, dict[str, bytes]]:
    """Sample ``number`` of all shards, of a kept picture's record and the bytes of its file."""
    suffix, data = pictures.as_shown(data)
    said = {"source": record["key"], **{key: record[key] for key in ("height", "width", "entities")}}
    caption = record["caption"].encode("utf-8", "replace")
    return f"{number:09d}", {suffix[1:]: data, CAPTION: caption, ENTITIES: json.dumps(said, separators=(",", ":")).encode()}


def examples(folder: Path, shuffle: random.Random | None = None) -> Iterator[Example]:
    """Every labelled picture of a folder of shards, once; shard by shard, both in random order with ``shuffle``.

    Raises ValueError where the folder has no shard, or with shard and sample where one is damaged.
    """
    paths = sorted(folder.glob("labels-*.tar"))
    if not paths:
        raise ValueError(f"{folder} holds no labelled pictures (labels-*.tar). Make some with research/label.py.")
    if shuffle:
        shuffle.shuffle(paths)
    for path in paths:
        try:
            listed = list(tars.samples(path))
        except (tarfile.TarError, OSError, EOFError) as problem:
            raise ValueError(f"{path} is damaged: {problem}. Label its pictures again.") from problem
        if shuffle:
            shuffle.shuffle(listed)
        with open(path, "rb") as file:
            for key, fields in listed:
                try:
                    yield _example(file, fields)
                except (ValueError, KeyError, pictures.Damaged) as problem:
                    raise ValueError(f"{path}, sample {key}: {problem}. Label its pictures again.") from problem


def _example(file, fields: dict[str, tuple[int, int]]) -> Example:
    def bytes_of(field: str) -> bytes:
        start, length = fields[field]
        file.seek(start)
        return file.read(length)

    if missing := [field for field in (CAPTION, ENTITIES) if field not in fields]:
        raise ValueError(f"it has no {missing[0]}")
    kind = tars.kind_of_picture(fields)
    if kind is None:
        raise ValueError("it has no picture")
    picture = pictures.tensor(pictures.decode(bytes_of(kind))).movedim(-1, 0)
    height, width, source, listed = entities.read(bytes_of(ENTITIES))
    if picture.shape[1:] != (height, width):
        raise ValueError(f"its picture has {picture.shape[2]} x {picture.shape[1]} pixels, but its entities {width} x {height}")
    return Example(source, picture, bytes_of(CAPTION).decode("utf-8"), listed)
