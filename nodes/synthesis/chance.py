"""Chance that is the same on every machine and in every version: a number out of a seed and of what it is for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

Of = TypeVar("Of")


def share(seed: int, *purpose: object) -> float:
    """A number from 0 to 1, without 1."""
    said = " ".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(said.encode()).digest()[:6], "big") / 2**48


def number(seed: int, *purpose: object, below: int = 2**48) -> int:
    """A whole number from 0 to ``below``, without it."""
    return int(share(seed, *purpose) * below)


def one_of(choices: Sequence[Of], seed: int, *purpose: object) -> Of:
    return choices[number(seed, *purpose, below=len(choices))]


def some_of(choices: Sequence[Of], count: int, seed: int, *purpose: object) -> tuple[Of, ...]:
    """So many, in random order; each once before any is there twice."""
    rounds = -(-count // len(choices))
    shuffled = [
        choices[place]
        for each in range(rounds)
        for place in sorted(range(len(choices)), key=lambda place: share(seed, *purpose, each, place))
    ]
    return tuple(shuffled[:count])
