"""A function of a test in a Python of its own, which may fork: a process that has computed gradients may not, on some devices."""

import os
import subprocess
import sys
from pathlib import Path

from same_subject.dev import pack

CODE = """
import importlib, os, runpy, sys
from pathlib import Path
pack = runpy.run_path(sys.argv[1])
pack["load"]()
if ".host." in sys.argv[2]:
    pack["enter_host"](os.environ["COMFYUI_PATH"])
getattr(importlib.import_module(sys.argv[2]), sys.argv[3])(Path(sys.argv[4]))
"""


def call(module: str, function: str, folder: Path) -> None:
    """``function(folder)`` of the test module that is named; what it prints is shown where it fails."""
    name = "same_subject.tests." + module.partition("tests.")[2]
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(pack.ROOT / "dev" / "pack.py"), name, function, str(folder)],
        capture_output=True, text=True, timeout=180, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
