"""Which ComfyUI this pack needs. Imports nothing, so that it can speak in one that lacks what the nodes import."""

from __future__ import annotations

import re

OLDEST = "0.16.3"
"""The oldest ComfyUI that all of this was tested with; `pyproject.toml` says the same."""


def check(given: str) -> None:
    """Raise ImportError, in one line, where the ComfyUI of version ``given`` is too old. One without numbers passes."""
    if numbers(given) and numbers(given) < numbers(OLDEST):
        raise ImportError(f"Same Subject needs ComfyUI {OLDEST} or newer, but this is {given}: update ComfyUI.")


def numbers(version: str) -> tuple[int, ...]:
    """The numbers of a version as they compare: "0.3.64" -> (0, 3, 64). What follows them, as in "0.3.64+2", is left out."""
    found = re.match(r"v?(\d+(?:\.\d+)*)", version)
    return tuple(int(number) for number in found[1].split(".")) if found else ()
