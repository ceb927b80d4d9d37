"""Subjects200K as it is published: parquet files whose rows are pairs of pictures side by side (docs/data.md)."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image

from . import files
from .examples import PictureSet
from .pictures import Damaged, decode
from .sources import Entry, Source

SUFFIX = ".parquet"
COLUMNS = {"image", "description"}
"""Those that must be there."""
ALSO = {"quality_assessment", "collection"}
JUDGED = ("compositeStructure", "objectConsistency", "imageQuality")
LEAST_QUALITY = 5
"""Of all three judgements, as the authors train with."""
MARGIN = 8
"""Pixels around each picture of a pair."""
MOST_GROUP = 2**31
"""Bytes of a row group, which is held in memory as a whole, not decoded."""


class Subjects200K(Source):
    """The parquet files of a folder, or one. Pairs that their authors judged below LEAST_QUALITY are left out."""

    kind = "subjects200k"

    def __init__(self, path: Path, most: int | None = None, least_side: int = 0):
        super().__init__(path, most, least_side)
        self._groups: dict[str, int] | None = None
        self._held: tuple[str, Any] = ("", None)

    def parts(self) -> list[str]:
        if self._groups is None:
            self._groups = {}
            for name in files.named(self.path, (SUFFIX,)):
                try:
                    files.check_inside(self.path, self.file(name))
                    self._groups |= {f"{name}#{number}": rows for number, rows in enumerate(self.rows(name), 1)}
                except Damaged as problem:
                    self.skip(name, problem)
        return list(self._groups)

    def told(self) -> Iterable[str]:
        return (f"{part} {rows}" for part, rows in dict.fromkeys(self.parts()).items())

    def entries(self, part: str) -> list[Entry]:
        self.parts()
        assert self._groups is not None
        return [Entry(f"{part}/{row + 1}", (part, row)) for row in range(self._groups[part])]

    def read(self, entry: Entry, draw: random.Random | None = None) -> PictureSet:
        part, number = entry.at
        row = self.group(part).slice(number, 1).to_pylist()[0]
        judged = row.get("quality_assessment")
        if "quality_assessment" in row and not judged:
            raise Damaged("its quality was not judged")
        if judged and min(judged.get(name) or 0 for name in JUDGED) < LEAST_QUALITY:
            raise Damaged(f"its authors judged its quality below {LEAST_QUALITY}")
        held = (row["image"] or {}).get("bytes")
        if not held:
            raise Damaged("there is no picture in its row")
        said = row["description"] or {}
        captions = [" ".join((said.get(f"description_{side}") or "").split()) for side in (0, 1)]
        given = [
            (f"{entry.name}, {side} picture", caption, lambda one=one: one)
            for side, caption, one in zip(("left", "right"), captions, halves(decode(held)), strict=True)
        ]
        known = {"subject": said.get("item"), "category": said.get("category"), "collection": row.get("collection")}
        return self.gathered(entry.name, given, draw, {name: value for name, value in known.items() if value})

    def file(self, name: str) -> Path:
        """Where a file is."""
        return files.root(self.path) / name

    def rows(self, name: str) -> list[int]:
        """Rows of each row group of a file. Raises ValueError where it has other columns, Damaged where it is broken."""
        arrow, parquet = reader()
        try:
            with parquet.ParquetFile(self.file(name)) as table:
                columns = set(table.schema_arrow.names)
                if not columns >= COLUMNS:
                    raise ValueError(
                        f"Data: {self.file(name)} has the columns {', '.join(sorted(columns)) or 'none'}, but Subjects200K has "
                        "`image` and `description`. Give a folder of pictures, videos or shards, or files of that data set."
                    )
                groups = [table.metadata.row_group(number) for number in range(table.metadata.num_row_groups)]
                if max((group.total_byte_size for group in groups), default=0) > MOST_GROUP:
                    raise Damaged(f"its row groups have more than {MOST_GROUP} bytes")
                return [group.num_rows for group in groups]
        except (arrow.ArrowException, OSError) as problem:
            raise Damaged(f"the file is damaged: {str(problem)[:200]}") from problem

    def group(self, part: str) -> Any:
        """The rows of a part, as pyarrow has them; the last one is kept."""
        if self._held[0] != part:
            arrow, parquet = reader()
            name, _, number = part.rpartition("#")
            self._held = ("", None)  # two at once would be twice the memory
            try:
                with parquet.ParquetFile(self.file(name)) as table:
                    columns = [column for column in table.schema_arrow.names if column in COLUMNS | ALSO]
                    self._held = part, table.read_row_group(int(number) - 1, columns=columns)
            except (arrow.ArrowException, OSError) as problem:
                raise Damaged(f"the file is damaged: {str(problem)[:200]}") from problem
        return self._held[1]


def halves(pair: Image.Image) -> tuple[Image.Image, Image.Image]:
    """The two pictures of a pair, without their margins. Raises Damaged where its size is none that was published.

    A pair is two squares of 512 or 1024 pixels side by side, each with 8 pixels around it: 1056 x 528, 2080 x 1040.
    """
    width, height = pair.size
    margin = {0: 0, 2 * MARGIN: MARGIN}.get(height % 64)
    if width != 2 * height or margin is None:
        raise Damaged(f"it is no pair of squares: {width} x {height} pixels")
    left, right = (
        pair.crop((start + margin, margin, start + height - margin, height - margin)) for start in (0, height)
    )  # fmt: skip
    return left, right


def reader() -> tuple[Any, Any]:
    """pyarrow and its module for parquet. Raises ValueError where it is not there."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as problem:
        raise ValueError(
            f"Data: Subjects200K is read with the Python package `pyarrow`, which cannot be imported ({problem}). Install it "
            "with `pip install pyarrow`."
        ) from problem
    return pyarrow, parquet
