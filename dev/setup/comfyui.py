"""A ComfyUI on this machine, and what its folder says about it."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Host:
    """A ComfyUI: its folder, the Python that runs it, and whether it is this project's own."""

    root: Path
    python: Path
    private: bool

    @property
    def version(self) -> str:
        """The version that this ComfyUI states, or "unknown"."""
        return read_version(self.root)


def is_comfyui(folder: Path) -> bool:
    """Whether a folder holds the program ComfyUI."""
    return (folder / "main.py").is_file() and (folder / "comfy" / "samplers.py").is_file()


def read_version(root: Path) -> str:
    """The version in `comfyui_version.py`, read without importing it."""
    try:
        text = (root / "comfyui_version.py").read_text(encoding="utf-8")
    except OSError:
        return "unknown"
    found = re.search(r'__version__ = "([^"]+)"', text)
    return found.group(1) if found else "unknown"
