"""Taking a source tree out of an archive, and nothing else."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from pathlib import Path, PurePosixPath

from same_subject.dev.setup.errors import SetupError

LARGEST_MEMBER = 64 * 2**20
LARGEST_TREE = 512 * 2**20


def unpack(archive: Path, subtree: str, target: Path) -> None:
    """Write the regular files under `subtree` of a .tar.gz into `target`, and nothing else.

    Links, devices, names that could leave `target`, and sizes that no source tree has are refused.
    """
    total = 0
    prefix = PurePosixPath(subtree).parts
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            parts = PurePosixPath(member.name).parts
            if parts[: len(prefix)] != prefix or member.isdir():
                continue
            inner = parts[len(prefix) :]
            total += member.size
            if not member.isreg() or not inner or not all(map(is_plain_name, inner)):
                raise SetupError(f"{archive.name} holds an entry that is no plain file: {member.name!r}.")
            if member.size > LARGEST_MEMBER or total > LARGEST_TREE:
                raise SetupError(f"{archive.name} is larger than a source tree should be: {member.name!r}.")
            destination = target.joinpath(*inner)
            destination.parent.mkdir(parents=True, exist_ok=True)
            with tar.extractfile(member) as source, open(destination, "wb") as sink:
                shutil.copyfileobj(source, sink)


def is_plain_name(part: str) -> bool:
    """Whether one part of a path is an ordinary file name on every system."""
    return part not in ("", ".", "..") and not any(sign in part for sign in "/\\:\0")


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(2**20), b""):
            digest.update(block)
    return digest.hexdigest()
