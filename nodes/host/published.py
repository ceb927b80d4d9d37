"""Networks of transformers from folders as their publishers lay them out, so that nothing in them is followed or run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import folder_paths
import torch

from . import model_files

MOST_TEXT = 2**20
"""Bytes of a configuration that are read."""


def read_json(path: Path) -> dict:
    """What a configuration says. Raises ValueError, with the path, for anything but an object of at most MOST_TEXT bytes."""
    try:
        if path.stat().st_size > MOST_TEXT:
            raise ValueError(f"it has {path.stat().st_size} bytes, but at most {MOST_TEXT} are read")
        said = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(said, dict):
            raise ValueError("it holds no object")
        return said
    except (OSError, ValueError, RecursionError) as problem:
        raise ValueError(f"{path} cannot be read: {problem}") from problem


def may_be(category: str, folder: str, kind: str) -> bool:
    """Whether a folder of a category may hold a network of this `model_type`: one that cannot be read may, so that its loader
    says why."""
    path = folder_paths.get_full_path(category, f"{folder}/config.json")
    try:
        return path is not None and read_json(Path(path)).get("model_type") == kind
    except ValueError:
        return True


def network(kind: Any, config: Any, state: dict[str, torch.Tensor], **arguments: Any) -> torch.nn.Module:
    """A network of transformers with these weights, under published names, in float32 for evaluation. Every weight must fit.

    kind: its class. config: of transformers, made of sizes that were checked. arguments: of the class beside it. A network that
    needs more numbers than ``state`` has is not made. Raises ValueError with what does not fit; nothing is fetched.
    """
    try:
        with torch.device("meta"):
            needed = sum(weight.numel() for weight in kind(config, **arguments).parameters())
        given = sum(weight.numel() for weight in state.values())
        if needed > given:
            raise ValueError(f"its weights do not fit its configuration: that needs {needed} numbers, but there are {given}")
        loaded: Any = kind.from_pretrained(
            None, config=config, state_dict=state, dtype=torch.float32, local_files_only=True,
            ignore_mismatched_sizes=True, output_loading_info=True, **arguments,
        )  # fmt: skip
        made, report = loaded
    except Exception as problem:
        raise ValueError(model_files.first_line(problem)) from problem
    wrong = [str(key) for part in ("missing_keys", "unexpected_keys", "mismatched_keys") for key in report[part]]
    if wrong:
        raise ValueError(f"{len(wrong)} of its weights do not fit its configuration, for example `{sorted(wrong)[0]}`")
    return made.eval().requires_grad_(False)
