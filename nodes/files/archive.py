"""The named files of a zip, and nothing else of it."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .transfer import PART, PIECE, Watch


@dataclass(frozen=True)
class Member:
    """A file that a zip holds: its name without folders, its sha256, its bytes."""

    name: str
    sha256: str
    size: int


def take(archive: Path, members: Sequence[Member], folder: Path, watch: Watch) -> None:
    """Unpack the named files of a zip into a folder: all of them, or none. They may stand in one folder named like the zip.

    Raises ValueError where one is absent, of another size, or not the published file; OSError of the disk; Stopped.
    """
    parts = [folder / (member.name + PART) for member in members]
    try:
        with zipfile.ZipFile(archive) as packed:
            for number, (member, part) in enumerate(zip(members, parts, strict=True)):
                watch.tell("unpacking", number, len(members))
                _unpack(packed, archive.name.removesuffix(PART), member, part, watch)
        for member, part in zip(members, parts, strict=True):
            os.replace(part, folder / member.name)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as problem:
        raise ValueError(f"{archive.name} cannot be unpacked: {problem}. Press Download again.") from problem
    finally:
        for part in parts:
            part.unlink(missing_ok=True)


def _unpack(packed: zipfile.ZipFile, archive: str, member: Member, part: Path, watch: Watch) -> None:
    allowed = {member.name, f"{archive.removesuffix('.zip')}/{member.name}"}
    held = [each for each in packed.infolist() if each.filename in allowed]
    if len(held) != 1 or held[0].file_size != member.size:
        found = f"{held[0].file_size} bytes" if len(held) == 1 else f"{len(held)} of that name"
        raise ValueError(f"{archive} holds {found} as {member.name}, but needs one of {member.size} bytes. Get it by hand.")
    result, got = hashlib.sha256(), 0
    with packed.open(held[0]) as inside, open(part, "wb") as outside:
        while piece := inside.read(min(PIECE, member.size - got + 1)):
            watch.check()
            got += len(piece)
            if got > member.size:
                break
            result.update(piece)
            outside.write(piece)
        outside.flush()
        os.fsync(outside.fileno())
    if got != member.size or result.hexdigest() != member.sha256:
        raise ValueError(f"{member.name} in {archive} is not the published file. Get it by hand.")
