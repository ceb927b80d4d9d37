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


def started(module: str, function: str, folder: Path, **how) -> subprocess.Popen:
    """``function(folder)`` of the test module that is named, begun."""
    name = "same_subject.tests." + module.partition("tests.")[2]
    command = [sys.executable, "-c", CODE, str(pack.ROOT / "dev" / "pack.py"), name, function, str(folder)]
    return subprocess.Popen(command, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, **how)


def call(module: str, function: str, folder: Path) -> None:
    """The same, done; what it prints is shown where it fails."""
    process = started(module, function, folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        printed = "".join(process.communicate(timeout=180))
    finally:
        process.kill()
    assert process.returncode == 0, printed
