"""The cache folder: where it is, the stamps of what is complete in it, and its lock."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from same_subject.dev.setup.versions import CARRIER_SHA256, TORCH

STAMP = ".same-subject.json"


def cache_folder() -> Path:
    """Where the private ComfyUI lives: once per user, outside any clone."""
    override = os.environ.get("SAME_SUBJECT_CACHE")
    if override:
        return Path(override).expanduser().resolve()
    if os.name == "nt":
        base = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = str(Path.home() / "Library" / "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "same-subject"


def tree_stamp() -> dict:
    """What the stamp of a complete ComfyUI tree says."""
    return {"carrier": CARRIER_SHA256}


def environment_stamp(root: Path) -> dict:
    """What the stamp of a complete environment says: a digest of everything asked of pip."""
    try:
        requirements = (root / "requirements.txt").read_text(encoding="utf-8")
    except OSError:
        return {"requirements": "no tree"}
    return {"requirements": hashlib.sha256("\n".join([*TORCH, requirements]).encode()).hexdigest()}


def read_stamp(folder: Path) -> dict | None:
    """The stamp of a folder, or None where it has none that can be read."""
    try:
        return json.loads((folder / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def write_stamp(folder: Path, content: dict) -> None:
    """Write the stamp of a folder in one step."""
    fresh = folder / f"{STAMP}.new"
    fresh.write_text(json.dumps(content), encoding="utf-8")
    os.replace(fresh, folder / STAMP)


@contextlib.contextmanager
def locked(path: Path, say: Callable[[str], object] = print) -> Iterator[None]:
    """Hold a lock that the system itself gives back when this process ends, however it ends."""
    with open(path, "a+b") as handle:
        waited = False
        while not try_lock(handle):
            if not waited:
                say("Another set-up is at work; waiting for it to end.")
            waited = True
            time.sleep(0.5)
        yield


def try_lock(handle: IO[bytes]) -> bool:
    """Take the lock on an open file if nobody has it."""
    try:
        if os.name == "nt":
            import msvcrt

            handle.seek(0)
            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
