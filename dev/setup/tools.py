"""pytest and what the tests compare with, in a folder of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from same_subject.dev.setup import pythons
from same_subject.dev.setup.caching import cache_folder, locked, read_stamp, write_stamp
from same_subject.dev.setup.comfyui import Host
from same_subject.dev.setup.pip import Pip
from same_subject.dev.setup.versions import TEST_ORACLES, TEST_TOOLS


def test_tools(host: Host, say: Callable[[str], object] = print) -> Path | None:
    """A folder to put on PYTHONPATH so that the host's Python has pytest and the oracles; None where it has.

    The tools stand in a folder of their own, so that no environment is changed by testing.
    """
    if pythons.can_import(host.python, "pytest", "segment_anything", "groundingdino", "insightface", "onnx"):
        return None
    cache = cache_folder()
    version = subprocess.run(
        [str(host.python), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    wanted = {"tools": [*TEST_TOOLS, *TEST_ORACLES]}
    target = cache / f"tools-{version}"
    if read_stamp(target) == wanted:
        return target
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache / "lock", say):
        if read_stamp(target) != wanted:
            say("Fetching pytest and what the tests compare with")
            (cache / "tmp").mkdir(exist_ok=True)
            partial = Path(tempfile.mkdtemp(prefix="partial-", dir=cache))
            pip = Pip(host.python, cache, say)
            pip.run("install", "--target", str(partial), *TEST_TOOLS)
            pip.run("install", "--no-deps", "--target", str(partial), *TEST_ORACLES)
            write_stamp(partial, wanted)
            shutil.rmtree(target, ignore_errors=True)
            os.replace(partial, target)
    return target
