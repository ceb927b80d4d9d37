"""What one node's function refuses, said by another node that a user has before them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def said_by(node: str, parts: Sequence[str], reworded: Callable[[str], str] = str) -> Iterator[None]:
    """A ValueError that one of the nodes ``parts`` speaks is spoken by ``node``. reworded: of what follows the name."""
    try:
        yield
    except ValueError as problem:
        speaker, colon, said = str(problem).partition(": ")
        if not colon or speaker not in parts:
            raise
        raise ValueError(f"{node}: {reworded(said)}") from problem
