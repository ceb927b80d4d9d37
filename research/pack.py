"""Reach the pack from a command in this folder, as the commands in `dev/` do."""

import runpy
from pathlib import Path

load = runpy.run_path(str(Path(__file__).resolve().parent.parent / "dev" / "pack.py"))["load"]
