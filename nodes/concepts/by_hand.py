"""What a user chose or painted by hand on the base pictures: the text that a graph keeps of it.

A JSON list with an entry for each concept of a picture, both counted from 1. An entry says what it was made for: the phrase,
and the box (xyxy, in pixels) where the concept was. Where that has changed, the text is refused, never applied to something
else.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from .boxes import Box

NEAR = 0.8
"""How much a box must overlap the one in the text (intersection over union) to be the same one on the same picture."""
MOST_SHOWN = 100


@dataclass(frozen=True)
class Entry:
    """concept, picture: from 1. phrase: of the concept; "" if it does not say. box: where it was; None if it does not say.

    number: which box of the phrase is chosen, from 1, best score first; file: with what was painted. None for what is not said.
    """

    concept: int
    picture: int = 1
    phrase: str = ""
    box: Box | None = None
    number: int | None = None
    file: str | None = None


@dataclass(frozen=True)
class Speaker:
    """Whose text it is, for messages. node, name: of the input. example: an entry. remedy: how to make it with the mouse."""

    node: str
    name: str
    example: str
    remedy: str

    def says(self, problem: str) -> ValueError:
        """An error that ends with what to do."""
        return ValueError(f"{self.node}: `{self.name}` {problem}. {self.remedy}, or empty `{self.name}`.")


CHOSEN = Speaker(
    "Find Concepts",
    "chosen",
    '[{"concept": 1, "number": 2}]',
    "Press Clear below the node's picture, run once and click the boxes again",
)
CORRECTIONS = Speaker(
    "Concept Masks",
    "corrections",
    '[{"concept": 1, "file": "same-subject/concept-1.png"}]',
    "Press Clear All below the node's picture, run once and paint again",
)


def read(text: str, who: Speaker) -> tuple[Entry, ...]:
    """The entries of a text; none if it is empty. Raises ValueError where it has another form, or says something twice."""
    if not text.strip():
        return ()
    try:
        given = json.loads(text)
        if not isinstance(given, list):
            raise ValueError("no list")
        entries = tuple(_entry(each, who) for each in given)
    except (ValueError, TypeError, OverflowError, RecursionError) as problem:
        shown = text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."
        raise who.says(f"is `{shown}`, but needs a JSON list such as `{who.example}`, numbers counted from 1") from problem
    said = [(entry.picture, entry.concept) for entry in entries]
    for picture, concept in said:
        if said.count((picture, concept)) > 1:
            raise who.says(f"names concept {concept} of picture {picture} twice")
    return entries


def _entry(given: dict, who: Speaker) -> Entry:
    entry = Entry(**given)
    counts = (entry.concept, entry.picture, *([] if entry.number is None else [entry.number]))
    if not all(type(value) is int and value >= 1 for value in counts) or not isinstance(entry.phrase, str):
        raise ValueError("no number from 1, or no text")
    if entry.box is not None:
        numbers = [float(value) for value in given["box"]]
        if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
            raise ValueError("no box")
        entry = Entry(entry.concept, entry.picture, entry.phrase, Box(*numbers), entry.number, entry.file)
    if who is CHOSEN and (entry.file is not None or (entry.number is None and entry.box is None)):
        raise ValueError("no choice")
    if who is CORRECTIONS and (entry.number is not None or not isinstance(entry.file, str)):
        raise ValueError("no file")
    return entry


def check(entries: Sequence[Entry], phrases: Sequence[str], who: Speaker, pictures: int | None = None) -> None:
    """Raise ValueError unless the entries are about these K phrases, and about so many pictures if they are known."""
    for entry in entries:
        if entry.concept > len(phrases):
            raise who.says(f"names concept {entry.concept}, but there {_are(len(phrases), 'concept')}")
        phrase = phrases[entry.concept - 1]
        if entry.phrase and _plain(entry.phrase) != _plain(phrase):
            raise who.says(f"was made for `{entry.phrase}` as concept {entry.concept}, but that is `{phrase}` now")
        if pictures is not None and entry.picture > pictures:
            raise who.says(f"names picture {entry.picture}, but there {_are(pictures, 'picture')}")


def _plain(phrase: str) -> str:
    return " ".join(phrase.lower().split())


def _are(count: int, what: str) -> str:
    return f"is 1 {what}" if count == 1 else f"are {count} {what}s"


def at(entries: Sequence[Entry], picture: int) -> dict[int, Entry]:
    """The entries of one picture (from 1) by the position of their concept (from 0)."""
    return {entry.concept - 1: entry for entry in entries if entry.picture == picture}


def picked(entry: Entry, boxes: Sequence[Box], phrase: str) -> Box:
    """Which of the boxes found for ``phrase``, best score first, an entry of `chosen` means.

    Its place counts where the entry says one, else its number. Raises ValueError where there is no such box.
    """
    where = f"`{phrase}` in picture {entry.picture}"
    if entry.box is None:
        assert entry.number is not None, "`read` lets pass what has a box or a number"
        if entry.number > len(boxes):
            raise CHOSEN.says(f"names box {entry.number} of {where}, but {len(boxes)} {_found(len(boxes))}")
        return boxes[entry.number - 1]
    best = max(boxes, key=entry.box.overlap, default=None)
    if best is None or best.overlap(entry.box) < NEAR:
        raise CHOSEN.says(
            f"names a box of {where} at {_place(entry.box)}, but no box is found there now: the picture, the phrases or the "
            "thresholds have changed"
        )
    return best


def check_place(entry: Entry, box: Box | None, phrase: str) -> None:
    """Raise ValueError where ``box``, the place of a concept now, is not the one that an entry of `corrections` was made for."""
    where = f"`{phrase}` in picture {entry.picture}"
    if box is None:
        raise CORRECTIONS.says(f"names {where}, which is an empty concept there")
    if entry.box is not None and box.overlap(entry.box) < NEAR:
        raise CORRECTIONS.says(
            f"was painted for {where} at {_place(entry.box)}, but its box is at {_place(box)} now: the picture or the choice has "
            "changed"
        )


def _found(count: int) -> str:
    return "box was found" if count == 1 else "boxes were found"


def _place(box: Box) -> str:
    return f"({', '.join(str(round(value)) for value in box.corners)})"
