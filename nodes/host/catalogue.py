"""Where the weight files that this pack can use are published: what `models.yaml` says."""

from __future__ import annotations

import functools
from pathlib import Path

import yaml

CATALOGUE = Path(__file__).resolve().parents[2] / "models.yaml"


def files(folder: str) -> list[str]:
    """Names of the files that belong in a folder such as `models/sams`, in the list's order."""
    return [entry["file"] for entry in _entries() if entry["folder"] == folder]


def where_to_get(file: str, folder: str) -> str:
    """`Get it from <url> and put it into <folder>.`; less where the file is in no list."""
    known = next((each for each in _entries() if _is(each, file, folder)), None)
    source = f"Get it from {known['url']} and put it" if known else "Put it"
    return f"{source} into {folder} as `{file}`."


def listed(file: str, folder: str) -> dict:
    """What the list says of a file that is in it."""
    return next(each for each in _entries() if _is(each, file, folder))


@functools.cache
def whole() -> dict:
    """All that the list says: its `models`, and the `hosts`, `packages` and `inputs` of nodes that concern them."""
    return yaml.safe_load(CATALOGUE.read_text(encoding="utf-8"))


def _is(entry: dict, file: str, folder: str) -> bool:
    return entry["file"] == file and entry["folder"] == folder


def _entries() -> list[dict]:
    return whole()["models"]
