"""Where pictures come from: folders, WebDataset shards, parquet lists of local files; each is a range of bytes in a file."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ...dev.setup.errors import SetupError
from ...nodes.data import captions, files, shards
from ...nodes.data.pictures import SUFFIXES, Damaged

LISTS, SHARDS = (".parquet",), (".tar",)


@dataclass(frozen=True)
class Item:
    """One picture. key: its name, of its own in a source. path, start, length: where its bytes are; length -1 is the whole file.

    caption: "" where none is given. problem: why there is no picture to read, "" where there is.
    """

    key: str
    path: str
    start: int = 0
    length: int = -1
    caption: str = ""
    problem: str = ""

    def read(self) -> bytes:
        """The file's bytes. Raises Damaged where they are not there."""
        if self.problem:
            raise Damaged(self.problem)
        return files.read(self.path, self.start, self.length)


@dataclass(frozen=True)
class Columns:
    """Names of columns in a parquet list."""

    picture: str = "path"
    caption: str = "caption"


def items(source: Path, columns: Columns = Columns()) -> Iterator[Item]:  # noqa: B008
    """Every picture of a folder with all below it, a `.tar` or a `.parquet`, in the order of their names.

    A list beside a shard or folder of its own name, as img2dataset writes it, is passed over where it names no files.

    Raises SetupError where the source is none of these, or a list lacks its column.
    """
    if source.is_dir():
        for folder, below, names in os.walk(source):
            below[:] = sorted(name for name in below if not name.startswith("."))
            for name in sorted(names):
                if not name.startswith("."):
                    yield from _file(Path(folder, name), source, columns)
    elif source.is_file() and source.suffix.lower() in (*SUFFIXES, *LISTS, *SHARDS):
        yield from _file(source, source, columns)
    else:
        raise SetupError(
            f"label: {source} holds no pictures. Give a folder of pictures or of WebDataset shards (.tar, not compressed), a "
            "shard, or a .parquet that lists local files."
        )


def _file(path: Path, source: Path, columns: Columns) -> Iterator[Item]:
    suffix, name = path.suffix.lower(), path.relative_to(files.root(source)).as_posix()
    if suffix in SUFFIXES:
        yield _captioned(Item(name, str(path)), lambda: captions.beside(path))
    elif suffix in LISTS:
        yield from _listed(path, name, source, columns)
    elif suffix in SHARDS:
        yield from _in_shard(path, name)


def _captioned(item: Item, read: Callable[[], str]) -> Item:
    try:
        return replace(item, caption=read())
    except Damaged as problem:
        return replace(item, problem=str(problem))


def _in_shard(path: Path, name: str) -> Iterator[Item]:
    try:
        with open(path, "rb") as file:
            for key, fields in shards.samples(path):
                kind = shards.kind_of_picture(fields)
                if kind is None:
                    continue
                item = Item(f"{name}/{key}.{kind}", str(path), *fields[kind])
                text = next((fields[field] for field in shards.CAPTIONS if field in fields), None)
                if text is None:
                    yield item
                    continue
                file.seek(text[0])
                said = file.read(min(text[1], captions.MOST_TEXT))
                yield _captioned(item, lambda said=said: captions.text(said))
    except (tarfile.TarError, OSError, EOFError) as problem:
        yield Item(f"{name}/*", str(path), problem=f"the shard is damaged from here on: {problem}")


def _listed(path: Path, name: str, source: Path, columns: Columns) -> Iterator[Item]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as problem:
        raise SetupError(
            f"label: {path.name} is read with the Python package `pyarrow`, which cannot be imported ({problem}). Install it "
            "with `pip install pyarrow`."
        ) from problem
    try:
        with parquet.ParquetFile(path) as table:
            names = table.schema_arrow.names
            if columns.picture not in names:
                if path != source and (path.with_suffix(SHARDS[0]).is_file() or path.with_suffix("").is_dir()):
                    return  # img2dataset's list of the shard or folder beside it
                raise SetupError(
                    f"label: {path.name} has no column `{columns.picture}`, but {', '.join(names) or 'none'}. Name the one that "
                    "holds the pictures' paths with `--picture-column`."
                )
            wanted = [name for name in (columns.picture, columns.caption) if name in names]
            rows = (row for batch in table.iter_batches(batch_size=1024, columns=wanted) for row in batch.to_pylist())
            for number, row in enumerate(rows, 1):
                yield _row(row, f"{name}/{number}", path, source, columns)
    except (ArrowException, OSError) as problem:
        yield Item(f"{name}/*", str(path), problem=f"the list is damaged from here on: {problem}")


def _row(row: dict, name: str, path: Path, source: Path, columns: Columns) -> Item:
    """name: of the row. The key is the picture's path below the source, whichever list names it."""
    named = row[columns.picture]
    if not isinstance(named, str) or "://" in named:
        return Item(f"{name}: {named}"[:500], "", problem="the list has no path of a local file here")
    picture, root = (Path(os.path.abspath(one)) for one in (path.parent / named, files.root(source)))
    key = (picture.relative_to(root) if picture.is_relative_to(root) else picture).as_posix()
    caption = row.get(columns.caption)
    return Item(key, str(path.parent / named), caption=" ".join(caption.split()) if isinstance(caption, str) else "")
