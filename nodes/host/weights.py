"""Reading what a weight file says about itself, without loading it."""

from __future__ import annotations

import json
import os
from pathlib import Path

LARGEST_HEADER = 100_000_000
"""Bytes; the safetensors format's own limit."""


class Truncated(ValueError):
    """A safetensors file that is shorter than it says."""


def read_metadata(path: str | Path) -> dict[str, str]:
    """The metadata of a safetensors file, {} if it has none; raises as `read_header` does."""
    return read_header(path).get("__metadata__", {})


def read_header(path: str | Path) -> dict[str, dict]:
    """The header of a safetensors file: for each weight its dtype, shape and data_offsets; and `__metadata__`.

    Raises ValueError, with what is wrong with the file, if it is missing, truncated (`Truncated`) or something else.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} does not exist")
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > LARGEST_HEADER or file.read(1) != b"{":
            raise ValueError(f"{path.name} ({size} bytes) is not a safetensors file")
        if size < 8 + length:
            raise Truncated(f"{path.name} is truncated: it has {size} bytes, its header alone needs {8 + length}")
        file.seek(8)
        try:
            header = json.loads(file.read(length))
            ends = (entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__")
            end = 8 + length + max(ends, default=0)
            said = header.get("__metadata__", {})
            if not isinstance(said, dict) or not all(isinstance(value, str) for value in said.values()):
                raise ValueError("its `__metadata__` is not text by name")
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as problem:
            raise ValueError(f"{path.name} is not a safetensors file: its header cannot be read ({problem})") from problem
    if size < end:
        raise Truncated(f"{path.name} is truncated: it has {size} bytes, its header speaks of {end}")
    return header


def path_of(model) -> Path | None:
    """The file that a ModelPatcher was loaded from, if its loader says so.

    The host's loaders, and this pack's, keep a way to load the model again in `cached_patcher_init`:
    (function, (path, ...)) or (function, (path, ...), index).
    """
    again = getattr(model, "cached_patcher_init", None)
    arguments = again[1] if again else ()
    if arguments and isinstance(arguments[0], (str, os.PathLike)):
        return Path(arguments[0])
    return None


def stamps(*paths: Path) -> tuple:
    """What changes when one of these files does, for a node's fingerprint."""
    return tuple((path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in paths)
