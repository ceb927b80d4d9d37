"""pytest and what the tests compare with, and packages of commands in `research/`, in folders of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from same_subject.dev.setup import pythons
from same_subject.dev.setup.caching import cache_folder, locked, read_stamp, write_stamp
from same_subject.dev.setup.comfyui import Host
from same_subject.dev.setup.pip import Pip
from same_subject.dev.setup.versions import DATA_TOOLS, LABEL_TOOLS, RAY_TOOLS, TEST_ORACLES, TEST_TOOLS, TRAIN_TOOLS


def test_tools(host: Host, say: Callable[[str], object] = print) -> Path | None:
    """A folder to put on PYTHONPATH so that the host's Python has pytest and the oracles; None where it has."""
    modules = ("pytest", "xdist", "segment_anything", "groundingdino", "insightface", "onnx")
    return _folder(host, "tools", modules, "Fetching pytest and what the tests compare with", say, TEST_ORACLES, TEST_TOOLS)


def label_tools(host: Host, say: Callable[[str], object] = print) -> Path | None:
    """The same for what `research/label.py` needs beside the host's packages."""
    return _folder(host, "label", ("spacy", "pyarrow"), "Fetching spaCy and pyarrow for research/label.py", say, LABEL_TOOLS)


def train_tools(host: Host, say: Callable[[str], object] = print) -> Path | None:
    """The same for training by `research/finetune.py`."""
    return _folder(
        host, "train", ("accelerate", "tensorboard"), "Fetching accelerate and TensorBoard for training", say, TRAIN_TOOLS
    )


def data_tools(host: Host, say: Callable[[str], object] = print) -> Path | None:
    """The same for what sources of `nodes/data` need beside the host's packages."""
    return _folder(host, "data", ("pyarrow",), "Fetching pyarrow, which reads parquet files", say, DATA_TOOLS)


def ray_tools(host: Host, say: Callable[[str], object] = print) -> Path | None:
    """The same for a Ray of this machine."""
    return _folder(host, "ray", ("ray",), "Fetching Ray, which keeps servers busy (not with --ray none)", say, RAY_TOOLS)


def _folder(
    host: Host, name: str, modules: Sequence[str], sentence: str, say: Callable[[str], object],
    alone: Sequence[str], whole: Sequence[str] = (),
) -> Path | None:  # fmt: skip
    """The folder with these packages, made where it is not there; None where the host's Python has the modules.

    It is a folder of its own, so that no environment is changed. alone: without what they ask for, so that nothing in the host's
    place is replaced; whole: with it.
    """
    if pythons.can_import(host.python, *modules):
        return None
    cache = cache_folder()
    version = subprocess.run(
        [str(host.python), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    wanted = {"tools": [*whole, *alone]}
    target = cache / f"{name}-{version}"
    if read_stamp(target) == wanted:
        return target
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache / "lock", say):
        if read_stamp(target) != wanted:
            say(sentence)
            (cache / "tmp").mkdir(exist_ok=True)
            partial = Path(tempfile.mkdtemp(prefix="partial-", dir=cache))
            pip = Pip(host.python, cache, say)
            if whole:
                pip.run("install", "--target", str(partial), *whole)
            pip.run("install", "--no-deps", "--target", str(partial), *alone)
            write_stamp(partial, wanted)
            shutil.rmtree(target, ignore_errors=True)
            os.replace(partial, target)
    return target
