"""An order that a user chose for the pictures of a node, as text: `2, 1, 3`, counted from 1."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")


def parse_order(text: str) -> list[int]:
    """The positions, counted from 0, that a text of numbers, counted from 1, names; [] for an empty one.

    Raises ValueError for anything but every number from 1 to their count, each once.
    """
    if not text.strip():
        return []
    parts = re.split(r"[\s,;]+", text.strip(" \t\r\n,;"))
    numbers = [int(part) for part in parts if re.fullmatch(r"[0-9]{1,4}", part)]
    if len(numbers) != len(parts) or sorted(numbers) != list(range(1, len(numbers) + 1)):
        raise ValueError(
            f"Reference Pictures: `order` is `{text[:200]}`, but needs each number from 1 up to the count of pictures once, such "
            "as 2, 1, 3. Write such numbers, or empty `order` for the order of the inputs."
        )
    return [number - 1 for number in numbers]


def ordered(items: Sequence[Item], text: str) -> list[Item]:
    """``items`` in the order that ``text`` says, their own where it is empty. Raises ValueError where it does not fit."""
    positions = parse_order(text)
    if positions and len(positions) != len(items):
        count = len(items)
        needed = "1" if count == 1 else f"each number from 1 to {count} once"
        raise ValueError(
            f"Reference Pictures: `order` is `{text[:200]}`, {len(positions)} numbers, but {count} "
            f"picture{'s were' if count != 1 else ' was'} given, so it needs {needed}. Write that, or empty `order` for the "
            "order of the inputs."
        )
    return [items[position] for position in positions] if positions else list(items)
