"""Reach the pack under its one fixed name, `same_subject`, and a ComfyUI in this process.

The root folder is loaded as a package by its path. It never goes on `sys.path`: its `nodes/` would
shadow the host's own module `nodes`.

This file must parse on every Python 3, because it is what says that a Python is too old.
"""

import atexit
import importlib
import importlib.util
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from types import ModuleType

NAME = "same_subject"
ROOT = Path(__file__).resolve().parent.parent
NEWEST_PYTHON = (3, 13)


def oldest(requirement: str) -> str:
    """The oldest version that `pyproject.toml` asks for, of "requires-python" or "requires-comfyui"."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return re.search(f'^{requirement} = ">=([0-9.]+)"$', text, flags=re.MULTILINE).group(1)


OLDEST_PYTHON = tuple(int(number) for number in oldest("requires-python").split("."))
PYTHONS = "{}.{} to {}.{}".format(*OLDEST_PYTHON, *NEWEST_PYTHON)


def check_python(version: "tuple | None" = None) -> None:
    """Leave with one sentence where Python is older than the host can run on."""
    version = tuple(version or sys.version_info)[:2]
    if version < OLDEST_PYTHON:
        raise SystemExit(
            f"Same Subject needs Python {PYTHONS}, but this is Python {version[0]}.{version[1]} ({sys.executable}): "
            "run the command with a newer Python, for example `python3.12 dev/demo.py`."
        )


def load() -> ModuleType:
    """Register the root folder as the package `same_subject` and return it."""
    check_python()
    if NAME not in sys.modules:
        spec = importlib.util.spec_from_file_location(NAME, str(ROOT / "__init__.py"), submodule_search_locations=[str(ROOT)])
        module = importlib.util.module_from_spec(spec)
        sys.modules[NAME] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[NAME]
            raise
    return sys.modules[NAME]


def enter_host(root: "str | Path", cpu: "bool | None" = None) -> None:
    """Make the ComfyUI in folder `root` importable in this process (`import comfy.sd`, `import nodes`).

    `cpu` None means: the CPU where torch sees no accelerator. Folders that the host would make in
    its own tree (input, output, models) go to a temporary base directory instead.
    """
    import torch

    root = str(root)
    if root not in sys.path:
        sys.path.insert(0, root)
    importlib.import_module("utils")  # an older host puts a folder with another one first
    from comfy.cli_args import args

    if cpu is None:
        cpu = not (torch.cuda.is_available() or torch.backends.mps.is_available())
    if not args.base_directory:
        args.base_directory = tempfile.mkdtemp(prefix="same-subject-")
        atexit.register(shutil.rmtree, args.base_directory, ignore_errors=True)
    os.makedirs(os.path.join(args.base_directory, "custom_nodes"), exist_ok=True)
    if cpu:
        args.cpu = True
        args.use_pytorch_cross_attention = True
