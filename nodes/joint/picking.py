"""Choosing pictures out of a batch that holds joint sets, by number."""

from __future__ import annotations

import re
from collections.abc import Callable

from .layout import Layout

GENERATED, REFERENCES, INDEX = "generated", "references", "index"
CHOICES = (GENERATED, REFERENCES, INDEX)
MOST_PICKED = 1024
"""Most pictures that `indices` may name: far more than a set holds, and few enough to write out."""
MOST_WRITTEN = 40
"""Most characters of one number or range."""


def parse_indices(text: str) -> list[int]:
    """`0, 2-4` -> [0, 2, 3, 4]; order and repetition are kept. Raises ValueError for anything else, and beyond MOST_PICKED."""
    return _parsed(
        text,
        lambda shown: (
            f"Pick Pictures: `indices` holds {shown!r}, but needs numbers and ranges such as `0, 2-4`. "
            "0 is picture 1 of each set; references come after the generated pictures."
        ),
        lambda shown: (
            f"Pick Pictures: `indices` names more than {MOST_PICKED} pictures at `{shown}`, but needs pictures of one "
            "set. Write fewer; for all of them set `which` to generated or references."
        ),
    )


def parse_redo(text: str) -> list[int]:
    """`2, 4-5` -> [2, 4, 5], numbers from 1; nothing for nothing. Raises ValueError for anything else, and beyond MOST_PICKED."""
    if not text.strip():
        return []
    needed = "but needs numbers of pictures and ranges, from 1, such as `2, 4-5`. Sets are counted through, one after another"

    def wrong(shown: str) -> str:
        return f"Joint Set: `redo` holds {shown!r}, {needed}; empty makes all pictures."

    numbers = _parsed(
        text, wrong, lambda shown: f"Joint Set: `redo` names more than {MOST_PICKED} pictures at `{shown}`, {needed}."
    )
    if 0 in numbers:
        raise ValueError(wrong("0"))
    return numbers


def known_rows(layout: Layout, redo: str) -> tuple[int, ...]:
    """Rows of pictures that stay what they are where ``redo`` names those to make again; empty names all."""
    numbers, rows = set(parse_redo(redo)), layout.generated_rows
    if numbers and max(numbers) > len(rows):
        raise ValueError(
            f"Joint Set: `redo` asks for picture {max(numbers)}, but there are {len(rows)}: {layout.sets} set"
            f"{'s' * (layout.sets != 1)} of {layout.pictures}, counted through from 1. Give numbers of these."
        )
    return tuple(row for number, row in enumerate(rows, 1) if numbers and number not in numbers)


def _parsed(text: str, wrong: Callable[[str], str], many: Callable[[str], str]) -> list[int]:
    """Numbers and ranges, in order. wrong, many: what is said of a part that is no such thing, and of too long ones."""
    numbers: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part[:MOST_WRITTEN])
        if not match or len(part) > MOST_WRITTEN:
            raise ValueError(wrong(part if len(part) <= MOST_WRITTEN else part[:MOST_WRITTEN] + "…"))
        first, last = int(match[1]), int(match[2] or match[1])
        if len(numbers) + abs(last - first) + 1 > MOST_PICKED:
            raise ValueError(many(part.strip()))
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
