"""Which of the boxes that were found for a phrase is the concept's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .boxes import Box
from .detection import Found

BEST_SCORE, LARGEST, LEFT_TO_RIGHT, NEAREST = "best score", "largest", "left to right", "nearest to point"
ORDERS = (BEST_SCORE, LARGEST, LEFT_TO_RIGHT, NEAREST)
ERROR, EMPTY = "error", "empty concept"
MISSING = (ERROR, EMPTY)
MOST_OVERLAP = 0.9
"""Two concepts whose boxes overlap more (intersection over union) are taken to be one instance."""


def ordered(boxes: list[Box], order: str, point: tuple[float, float] = (0.0, 0.0)) -> list[Box]:
    """Boxes in one of ``ORDERS``; point: (x, y) in pixels. Equal ones keep their positions."""
    x, y = point
    keys = {
        BEST_SCORE: lambda box: -box.score,
        LARGEST: lambda box: -box.area,
        LEFT_TO_RIGHT: lambda box: box.centre[0],
        NEAREST: lambda box: (box.centre[0] - x) ** 2 + (box.centre[1] - y) ** 2,
    }
    return sorted(boxes, key=keys[order])


@dataclass(frozen=True)
class Rule:
    """Which of the boxes of a phrase is chosen.

    order: one of ORDERS. index: how many boxes of that order to pass over. point: (x, y) in pixels, for NEAREST. missing:
    what to do about a phrase with too few boxes, one of MISSING.
    """

    order: str = BEST_SCORE
    index: int = 0
    point: tuple[float, float] = (0.0, 0.0)
    missing: str = ERROR


def choose(phrases: list[str], found: dict[str, Found], rule: Rule, box_threshold: float, picture: str) -> list[Box | None]:
    """One box for each of the K phrases of one picture; None is an empty concept.

    phrases: normalised, may repeat. found: by phrase. box_threshold: that they were found with, for messages.
    Equal phrases take distinct boxes, the next ones of the order, and share them out from left to right.
    picture: how messages name the picture. Raises ValueError where a phrase has too few boxes (unless
    ``rule.missing`` allows an empty concept), or where two phrases chose one instance.
    """
    chosen: list[Box | None] = [None] * len(phrases)
    for phrase in dict.fromkeys(phrases):
        positions = [position for position, other in enumerate(phrases) if other == phrase]
        taken = ordered(found[phrase].boxes, rule.order, rule.point)[rule.index : rule.index + len(positions)]
        if len(taken) < len(positions) and rule.missing == ERROR:
            raise ValueError(_too_few(phrase, found[phrase], len(positions), rule.index, box_threshold, picture))
        for position, box in zip(positions, ordered(taken, LEFT_TO_RIGHT), strict=False):
            chosen[position] = box
    check_distinct(phrases, chosen, picture)
    return chosen


def _too_few(phrase: str, found: Found, concepts: int, index: int, box_threshold: float, picture: str) -> str:
    otherwise = f"use other words, or set `if_missing` to `{EMPTY}`."
    remedy = f"lower `box_threshold`, {otherwise}"
    if found.boxes:
        needed = f"{concepts} concept{'s' * (concepts > 1)} with `index` {index} need {concepts + index}"
        return (
            f"Find Concepts: {len(found.boxes)} box{'es' * (len(found.boxes) > 1)} found for `{phrase}` in {picture}, but "
            f"{needed}. Lower `index`, or {remedy}"
        )
    if found.rival:
        return (
            f"Find Concepts: every box of `{phrase}` in {picture} fits `{found.rival}` better (its best score was "
            f"{found.best_score:.3f}, `box_threshold` is {box_threshold:.3f}). Describe the two by different words, or {remedy}"
        )
    if found.best_score > box_threshold:
        return (
            f"Find Concepts: nothing was found for `{phrase}` in {picture}: its best box has a score of {found.best_score:.3f}, "
            f"but no word of the phrase is above `text_threshold`. Lower it, {otherwise}"
        )
    return (
        f"Find Concepts: nothing was found for `{phrase}` in {picture}: its best score was {found.best_score:.3f}, but "
        f"`box_threshold` is {box_threshold:.3f}. To go on, {remedy}"
    )


def check_distinct(phrases: Sequence[str], chosen: Sequence[Box | None], picture: str) -> None:
    """Raise if two of the K concepts of one picture have one instance."""
    placed = [(phrase, box) for phrase, box in zip(phrases, chosen, strict=True) if box is not None]
    for number, (phrase, box) in enumerate(placed):
        for other_phrase, other in placed[:number]:
            if box.overlap(other) > MOST_OVERLAP:
                raise ValueError(
                    f"Find Concepts: `{other_phrase}` and `{phrase}` were found at one and the same place in {picture} "
                    f"(their boxes overlap by {box.overlap(other):.2f}), but every concept needs an instance of its own. "
                    "Use words that tell them apart, another `order` or `index`, or one phrase for both."
                )
