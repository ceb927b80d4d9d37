"""Which kind of source a folder or file is, so that a user need not say; what could be two kinds is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from . import captions, files, folders, joined, shards, subjects200k, videos
from .pictures import Damaged
from .sources import Source

KINDS: dict[str, Callable[..., Source]] = {
    source.kind: source
    for source in (
        folders.Sets, folders.Views, folders.Stacked, folders.Pictures, shards.Shards, videos.Videos, subjects200k.Subjects200K,
    )
}  # fmt: skip
"""Sources that can be asked for as `kind:path`, and are found out."""
LOOKED_AT = 20_000
"""Files of a folder that are looked at to find out its kind."""
MOST_OF_A_SUBJECT = 64
"""A folder with more pictures than that may well be no set; whoever has one says so."""


def open_source(
    spec: str | Path,
    most: int | None = None,
    least_side: int = 0,
    more: Mapping[str, Callable[..., Source]] | None = None,
) -> Source:
    """The source of sets that a user names: a path, `kind:path` with a kind of KINDS, or `joined:` before either.

    most, least_side: see `Source`. more: kinds of the caller's own, called with what follows the colon, most and least_side.
    Raises ValueError where there is nothing, or it is not plain which kind it is.
    """
    said, colon, rest = str(spec).partition(":")
    if colon and said == joined.KIND:
        return joined.Joined(open_source(rest, most, least_side, more))
    if colon and more and said in more:
        return more[said](rest, most, least_side)
    path = Path(rest if colon and said in KINDS else str(spec)).expanduser()
    if not path.exists():
        known = ", ".join((*KINDS, joined.KIND, *(more or {})))
        raise ValueError(
            f"Data: {path} is not there. Give a folder or file, or one with its kind before it, as in `sets:folder` (kinds are "
            f"{known})."
        )
    return (KINDS[said] if colon and said in KINDS else KINDS[kind_of(path)])(path, most, least_side)


@dataclass
class Seen:
    """What a folder holds: an example of each, and counts. texts: pictures with a text. split: texts with `<|split|>`."""

    examples: dict[str, str] = field(default_factory=dict)
    texts: int = 0
    split: int = 0
    shared: int = 0
    at_top: str = ""
    below: str = ""
    largest: tuple[int, str] = (0, "")


def kind_of(path: Path) -> str:
    """The kind of a folder or file, one of KINDS. Raises ValueError where there is none, or it could be two."""
    if path.is_file():
        return _kind_of_file(path)
    seen = _look(path)
    if not seen.examples:
        raise ValueError(
            f"Data: {path} holds no pictures (.jpg, .png, .webp), videos, shards (.tar, not compressed) or .parquet files. Give "
            "a folder that does."
        )
    found = {
        _kind_of_pictures(path, seen) if kind == folders.Pictures.kind else kind: example
        for kind, example in sorted(seen.examples.items())
    }
    if len(found) > 1:
        listed = " and ".join(f"{kind} (such as {example})" for kind, example in found.items())
        asked = " or ".join(f"`{kind}:{path}`" for kind in found)
        raise ValueError(f"Data: {path} holds {listed}. Say which is meant: {asked}.")
    return next(iter(found))


def _kind_of_file(path: Path) -> str:
    for kind, suffixes in SUFFIXES.items():
        if path.name.lower().endswith(suffixes) and kind != folders.Pictures.kind:
            return kind
    raise ValueError(f"Data: {path} is no video, shard (.tar, not compressed) or .parquet file. Give one, or a folder.")


SUFFIXES: dict[str, tuple[str, ...]] = {
    folders.Pictures.kind: folders.SUFFIXES,
    shards.Shards.kind: (shards.SUFFIX,),
    videos.Videos.kind: videos.SUFFIXES,
    subjects200k.Subjects200K.kind: (subjects200k.SUFFIX,),
}


def _look(path: Path) -> Seen:
    seen, looked = Seen(), 0
    if (path / folders.CAPTIONS).is_file():
        seen.shared += 1
    for folder, names in files.walk(path):
        shown = [name for name in names if folders.is_picture(name)]
        texts = {name.lower() for name in names if name.lower().endswith(".txt")}
        for kind, suffixes in SUFFIXES.items():
            example = next((name for name in names if name.lower().endswith(suffixes)), None)
            if example:
                seen.examples.setdefault(kind, (folder / example).relative_to(path).as_posix())
        if shown:
            seen.largest = max(seen.largest, (len(shown), folder.relative_to(path).as_posix()))
            if folder == path:
                seen.at_top = shown[0]
            else:
                seen.below = seen.below or folder.relative_to(path).as_posix()
            own = [name for name in shown if Path(name).stem.lower() + ".txt" in texts]
            seen.texts += len(own)
            seen.split += sum(_split(folder / name) for name in own)
            seen.shared += folders.CAPTION in texts or folder.with_name(folder.name + ".txt").is_file()
        looked += len(names)
        if looked > LOOKED_AT:
            break
    return seen


def _split(picture: Path) -> bool:
    """Whether the text beside a picture is one of several captions."""
    try:
        return captions.SPLIT in captions.beside(picture)
    except (Damaged, OSError):
        return False


def _kind_of_pictures(path: Path, seen: Seen) -> str:
    if seen.split:
        return folders.Stacked.kind
    if seen.at_top:
        if not seen.below:
            return folders.Pictures.kind
        raise ValueError(
            f"Data: {path} holds pictures itself (such as {seen.at_top}) and in folders (such as {seen.below}). Say what they "
            f"are: `sets:{path}` for a set in each folder, `pictures:{path}` for single pictures."
        )
    if seen.largest[0] > MOST_OF_A_SUBJECT:
        count, folder = seen.largest
        raise ValueError(
            f"Data: {folder} in {path} holds {count} pictures, which is much for a set of one subject. Say what they "
            f"are: `sets:{path}` for a set in each folder, `pictures:{path}` for single pictures."
        )
    if seen.texts and seen.shared:
        return folders.Sets.kind
    return folders.Views.kind if seen.shared else folders.Sets.kind
