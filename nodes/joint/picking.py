"""Choosing pictures out of a batch that holds joint sets."""

from __future__ import annotations

import re

from .layout import Layout

GENERATED, REFERENCES, INDEX = "generated", "references", "index"
CHOICES = (GENERATED, REFERENCES, INDEX)
MOST_PICKED = 1024
"""Most pictures that `indices` may name: far more than a set holds, and few enough to write out."""
MOST_WRITTEN = 40
"""Most characters of one number or range."""


def parse_indices(text: str) -> list[int]:
    """`0, 2-4` -> [0, 2, 3, 4]; order and repetition are kept. Raises ValueError for anything else, and beyond MOST_PICKED."""
    numbers: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part[:MOST_WRITTEN])
        if not match or len(part) > MOST_WRITTEN:
            shown = part if len(part) <= MOST_WRITTEN else part[:MOST_WRITTEN] + "…"
            raise ValueError(
                f"Pick Pictures: `indices` holds {shown!r}, but needs numbers and ranges such as `0, 2-4`. "
                "0 is picture 1 of each set; references come after the generated pictures."
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if len(numbers) + abs(last - first) + 1 > MOST_PICKED:
            raise ValueError(
                f"Pick Pictures: `indices` names more than {MOST_PICKED} pictures at `{part.strip()}`, but needs pictures of one "
                "set. Write fewer; for all of them set `which` to generated or references."
            )
        numbers += range(first, last + 1) if last >= first else range(first, last - 1, -1)
    return numbers


def rows(layout: Layout, which: str, indices: str) -> list[int]:
    """The rows to keep; ``indices`` count within each set."""
    if which == GENERATED:
        return layout.generated_rows
    if which == REFERENCES:
        return layout.reference_rows
    numbers = parse_indices(indices)
    if max(numbers) >= layout.size:
        raise ValueError(
            f"Pick Pictures: `indices` asks for {max(numbers)} (0 is picture 1), but a set has 0 to {layout.size - 1}: "
            f"{layout.pictures} generated, then {layout.references} references. Give one of these."
        )
    return [number * layout.size + index for number in range(layout.sets) for index in numbers]


def check_rows(layout: Layout, given: int) -> None:
    """Refuse a batch that is not this set's."""
    if given != layout.rows:
        raise ValueError(
            f"Pick Pictures: the batch has {given} rows, but its joint set has {layout.describe()}. "
            "Connect the sampler's (or VAE Decode's) whole batch and the `joint_set` it was sampled with."
        )
