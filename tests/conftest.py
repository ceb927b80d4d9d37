"""Make the pack importable as `same_subject` in every test, and keep its root off `sys.path`."""

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# `python -m pytest` puts the current folder first, where `nodes/` would shadow the host's `nodes`.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]

spec = importlib.util.spec_from_file_location("same_subject_pack", ROOT / "dev" / "pack.py")
pack = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pack)
pack.load()
