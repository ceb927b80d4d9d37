"""The Pythons of this machine, and the variables they are started with."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path


def pythons_beside(root: Path) -> Iterator[Path]:
    """Existing Python programs that may run the ComfyUI in `root`, likeliest first."""
    for name in ("venv", ".venv"):
        for parent in (root, root.parent):
            yield from existing(environment_python(parent / name))
    for name in ("python_embeded", "python_embedded"):
        yield from existing(root.parent / name / "python.exe")
    yield Path(sys.executable)


def existing(path: Path) -> list[Path]:
    """The path alone, where it exists."""
    return [path] if path.exists() else []


def environment_python(folder: Path) -> Path:
    """The Python program of a virtual environment."""
    return folder / "Scripts" / "python.exe" if os.name == "nt" else folder / "bin" / "python"


def can_import(python: Path, *modules: str) -> bool:
    """Whether a Python has these modules; looks them up without importing them."""
    probe = f"import importlib.util as u; raise SystemExit(not all(map(u.find_spec, {modules!r})))"
    try:
        return subprocess.run([str(python), "-c", probe], capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def clean_environment(**more: object) -> dict[str, str]:
    """This process's variables without those that would send packages or imports elsewhere."""
    stray = {"PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PIP_REQUIRE_VIRTUALENV", "PYTHONHOME", "PYTHONPATH"}
    kept = {name: value for name, value in os.environ.items() if name not in stray}
    return {**kept, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **{name: str(value) for name, value in more.items()}}
