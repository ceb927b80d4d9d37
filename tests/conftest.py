"""Make the pack importable as `same_subject` in every test."""

import importlib.util
from pathlib import Path

PACK = Path(__file__).resolve().parent.parent / "dev" / "pack.py"

spec = importlib.util.spec_from_file_location("same_subject_pack", PACK)
pack = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pack)
pack.load()
