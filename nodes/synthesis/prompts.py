"""Object-centric and scene-centric prompts (lines 10 and 19 of algorithm 1), from lists that ship with the pack or a user's own.

The lists stand in `lists/`, one entry a line: objects, what they look like, scenes, styles.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from . import chance

LISTS = Path(__file__).parent / "lists"
COLLAGE = "photos of the same"
"""What the paper puts to a prompt, so that a model draws one thing several times."""
MOST_TEXT = 2000
"""Letters of a prompt that are kept."""


@dataclass(frozen=True)
class Prompts:
    """Of one collage. subject: what it shows, as a detector is asked. collage: of the picture. scenes: one an instance."""

    subject: str
    collage: str
    scenes: tuple[str, ...]


@functools.cache
def listed(name: str) -> tuple[str, ...]:
    """The entries of a list, of `objects`, `details`, `scenes` or `styles`."""
    return lines((LISTS / f"{name}.txt").read_text(encoding="utf-8"))


def lines(text: str) -> tuple[str, ...]:
    """The lines of a text that say something; those that begin with # are remarks."""
    kept = (line.strip() for line in text.splitlines())
    return tuple(line[:MOST_TEXT] for line in kept if line and not line.startswith("#"))


def drawn(seed: int, count: int, subject: str = "", description: str = "", scenes: tuple[str, ...] = ()) -> Prompts:
    """Prompts for one collage with scenes for ``count`` instances, the same for the same seed.

    subject: "" draws one of the list. description: what it looks like, in place of the list. scenes: to draw from in place of the
    list. `{object}` in either stands for the subject with its article.
    """
    subject = subject.strip() or chance.one_of(listed("objects"), seed, "object")
    looks = description.strip() or chance.one_of(listed("details"), seed, "details")
    chosen = chance.some_of(scenes or listed("scenes"), count, seed, "scenes")
    collage_of, *scenes_of = (one.replace("{object}", with_article(subject)) for one in (looks, *chosen))
    return Prompts(subject, collage(collage_of), tuple(scenes_of))


def collage(looks: str) -> str:
    """The prompt of a collage, from what the object looks like."""
    first, _, rest = " ".join(looks.split()).partition(" ")
    same = rest if first.lower() in ("a", "an", "the") and rest else f"{first} {rest}".strip()
    return f"{COLLAGE} {same}"[:MOST_TEXT]


def with_article(subject: str) -> str:
    """A noun with a or an, by its first letter."""
    sounds_so = subject.lower().startswith((*"aeio", "umbrella", "hourglass"))
    return f"{'an' if sounds_so else 'a'} {subject}"
