"""WebDataset shards of sets: written whole, and read in place, whatever their size.

Of a set stand in a shard, one behind the other, `<key>.1.png` (or `.jpg`), `<key>.1.txt`, `<key>.2.png`, … and `<key>.json`
with what else is known. Read, too, are single pictures with a text (`<key>.jpg`, `<key>.txt`, as of `research/label.py`), and
sets in JeDi's own form (see `stacked`).
"""

from __future__ import annotations

import io
import json
import os
import random
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from PIL import Image

from . import captions, files
from .examples import PictureSet
from .pictures import SUFFIXES, Damaged, decode
from .sources import Entry, Source
from .stacked import cut

SUFFIX, PART = ".tar", ".part"
CAPTIONS = ("txt", "caption.txt", "caption")
"""Fields of a single picture's caption, the first that is there."""
MOST_ABOUT = 2**20
"""Bytes that are read of what else is known of a set."""
Fields = dict[str, tuple[int, int]]
"""Of one sample: field -> where its bytes start in the shard, and how many there are."""


def write(path: Path, sets: Iterable[PictureSet], kind: str = "png") -> int:
    """Write sets into a shard, whole or not at all, under their names; returns how many. kind: "png", or "jpg" in quality 95.

    Raises ValueError where a name cannot be a key, for that ends at its last part's first dot, or stands there twice.
    """
    met: set[str] = set()

    def samples() -> Iterator[tuple[str, dict[str, bytes]]]:
        for one in sets:
            if not one.name or "." in one.name.rpartition("/")[2] or one.name.startswith("/") or one.name in met:
                raise ValueError(
                    f"Data: {path} cannot hold a set of the name {one.name!r}, but needs one without a dot, of its own. Give it "
                    "another name."
                )
            met.add(one.name)
            yield one.name, fields(one, kind)

    write_samples(path, samples())
    return len(met)


def fields(one: PictureSet, kind: str = "png") -> dict[str, bytes]:
    """The members of a set: field -> bytes."""
    members = {}
    for number, (picture, caption) in enumerate(zip(one.pictures, one.captions, strict=True), 1):
        members[f"{number}.{kind}"] = encoded(picture, kind)
        members[f"{number}.txt"] = caption.encode("utf-8", "replace")
    members["json"] = json.dumps(dict(one.about), separators=(",", ":")).encode()
    return members


def encoded(picture: Image.Image, kind: str) -> bytes:
    """A picture as the bytes of a file."""
    written = io.BytesIO()
    picture.save(written, *{"png": ("PNG",), "jpg": ("JPEG",)}[kind], **({"quality": 95} if kind == "jpg" else {}))
    return written.getvalue()


def write_samples(path: Path, samples: Iterable[tuple[str, dict[str, bytes]]]) -> None:
    """Write a shard of (key, field -> bytes) whole: under another name, then renamed; what stood there is replaced."""
    part = path.with_name(path.name + PART)
    with open(part, "wb") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for key, members in samples:
                for field, data in members.items():
                    member = tarfile.TarInfo(f"{key}.{field}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def samples(path: Path) -> Iterator[tuple[str, Fields]]:
    """The samples of a WebDataset shard, in their order.

    Members with one path up to the first dot of its last part are one sample. Raises tarfile.TarError or OSError where the
    file is damaged, behind the samples that stand before the damage.
    """
    key, found = "", Fields()
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            folder, _, last = member.name.rpartition("/")
            stem, _, field = last.partition(".")
            if not member.isfile() or not stem:
                continue
            name = f"{folder}/{stem}" if folder else stem
            if name != key and found:
                yield key, found
                found = {}
            key, found[field.lower()] = name, (member.offset_data, member.size)
            tar.members.clear()  # type: ignore[attr-defined]  # it would keep every header of a large shard
        if found:
            yield key, found
        file = tar.fileobj
        assert file is not None
        file.seek(tar.offset)  # type: ignore[attr-defined]
        if file.read(tarfile.BLOCKSIZE).strip(b"\0"):  # tarfile takes what is no header for the end
            raise tarfile.ReadError(f"there is no member at byte {tar.offset}")  # type: ignore[attr-defined]


def kind_of_picture(found: Fields, before: str = "") -> str | None:
    """The field of a sample that is a picture's, such as "jpg", or "2.jpg" where ``before`` is "2."; None for none."""
    return next((before + suffix[1:] for suffix in SUFFIXES if before + suffix[1:] in found), None)


class Shards(Source):
    """Shards (`.tar`) of a folder, or one."""

    kind = "shards"

    def parts(self) -> list[str]:
        return files.named(self.path, (SUFFIX,))

    def told(self) -> Iterable[str]:
        return (f"{part} {self.file(part).stat().st_size}" for part in self.parts())

    def entries(self, part: str) -> list[Entry]:
        listed: list[Entry] = []
        path = self.file(part)
        try:
            files.check_inside(self.path, path)
            for key, found in samples(path):
                if kind_of_picture(found) or kind_of_picture(found, "1."):
                    listed.append(Entry(f"{part}/{key}", (part, found)))
        except (tarfile.TarError, OSError, EOFError, Damaged) as problem:
            self.skip(part, problem if isinstance(problem, Damaged) else Damaged(f"the shard is damaged: {problem}"))
        return listed

    def read(self, entry: Entry, draw: random.Random | None = None) -> PictureSet:
        part, found = entry.at
        path = self.file(part)

        def text(field: str) -> str:
            start, length = found[field]
            return captions.text(files.read(path, start, min(length, captions.MOST_TEXT)))

        if single := kind_of_picture(found):
            caption = next((text(field) for field in CAPTIONS if field in found), "")
            picture = decode(files.read(path, *found[single]))
            cuts = cut(picture, caption) if captions.SPLIT in caption else [(picture, caption)]
            given = [(f"{entry.name}.{number}", said, lambda one=one: one) for number, (one, said) in enumerate(cuts, 1)]
            return self.gathered(entry.name, given, draw)
        given, number = [], 1
        while field := kind_of_picture(found, f"{number}."):
            caption = ""
            try:
                caption = text(f"{number}.txt") if f"{number}.txt" in found else ""
            except Damaged as problem:
                self.skip(f"{entry.name}.{number}.txt", problem)
            given.append((f"{entry.name}.{field}", caption, lambda at=found[field]: decode(files.read(path, *at))))
            number += 1
        return self.gathered(entry.name, given, draw, self.about(path, found))

    def file(self, part: str) -> Path:
        """Where a shard is."""
        return files.root(self.path) / part

    @staticmethod
    def about(path: Path, found: Fields) -> dict:
        """What else is known of a set."""
        if "json" not in found or found["json"][1] > MOST_ABOUT:
            return {}
        try:
            said = json.loads(files.read(path, *found["json"]))
        except ValueError:
            return {}
        return said if isinstance(said, dict) else {}
