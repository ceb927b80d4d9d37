"""Which of the boxes that were found for a phrase is the concept's own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from . import by_hand
from .boxes import Box
from .detection import Found, Thresholds

BEST_SCORE, LARGEST, LEFT_TO_RIGHT, NEAREST = "best score", "largest", "left to right", "nearest to point"
ORDERS = (BEST_SCORE, LARGEST, LEFT_TO_RIGHT, NEAREST)
ERROR, EMPTY = "error", "empty concept"
MISSING = (ERROR, EMPTY)
MOST_OVERLAP = 0.9
"""Two concepts whose boxes overlap more (intersection over union) are taken to be one instance."""
ROUNDING = 1e-4
"""Scores come in single precision, thresholds in double; messages keep this clear of both."""

NOTHING_WANTED: Mapping[int, by_hand.Entry] = MappingProxyType({})


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


def choose(
    phrases: list[str], found: dict[str, Found], rule: Rule, thresholds: Thresholds, picture: str,
    wanted: Mapping[int, by_hand.Entry] = NOTHING_WANTED,
) -> list[Box | None]:  # fmt: skip
    """One box for each of the K phrases of one picture; None is an empty concept.

    phrases: normalised, may repeat. found: by phrase. thresholds: that they were found with, for messages.
    Equal phrases take distinct boxes, the next ones of the order, and share them out from left to right.
    picture: how messages name the picture. wanted: by position what a user chose by hand, before the others choose among the
    rest. Raises ValueError where a phrase has too few boxes (unless ``rule.missing`` allows an empty concept), where two
    phrases chose one instance, or where there is no box such as was chosen by hand.
    """
    chosen: list[Box | None] = [None] * len(phrases)
    for position, entry in wanted.items():
        chosen[position] = by_hand.picked(entry, found[phrases[position]].boxes, phrases[position])
    for phrase in dict.fromkeys(phrases):
        positions = [position for position, other in enumerate(phrases) if other == phrase and position not in wanted]
        free = [box for box in found[phrase].boxes if not any(box is one for one in chosen)]
        taken = ordered(free, rule.order, rule.point)[rule.index : rule.index + len(positions)]
        if len(taken) < len(positions) and rule.missing == ERROR:
            raise ValueError(_too_few(phrase, found[phrase], phrases.count(phrase), rule.index, thresholds, picture))
        for position, box in zip(positions, ordered(taken, LEFT_TO_RIGHT), strict=False):
            chosen[position] = box
    check_distinct(phrases, chosen, picture)
    return chosen


def _too_few(phrase: str, found: Found, concepts: int, index: int, thresholds: Thresholds, picture: str) -> str:
    otherwise = f"use other words, or set `if_missing` to `{EMPTY}`."
    if found.boxes:
        needed = f"{concepts} concept{'s' * (concepts > 1)} with `index` {index} need {concepts + index}"
        return (
            f"Find Concepts: {len(found.boxes)} box{'es' * (len(found.boxes) > 1)} found for `{phrase}` in {picture}, but "
            f"{needed}. Lower `index` (0 is box 1) or `box_threshold`, {otherwise}"
        )
    lower = _lower(found.own_score, thresholds)
    if found.rival:
        return (
            f"Find Concepts: every box of `{phrase}` in {picture} fits `{found.rival}` better (its best score was "
            f"{found.best_score:.3f}, `box_threshold` is {thresholds.box:.3f}). Describe the two by different words, look for "
            f"`{phrase}` in a Find Concepts of its own and connect the one's `boxes` to the other's `previous`, {lower}or set "
            f"`if_missing` to `{EMPTY}`."
        )
    names = [name for name, value in _thresholds(thresholds).items() if found.best_score <= value + ROUNDING]
    set_to = " and ".join(f"`{name}` is {_thresholds(thresholds)[name]:.3f}" for name in names)
    return (
        f"Find Concepts: nothing was found for `{phrase}` in {picture}: its best score was {found.best_score:.3f}, but {set_to}. "
        f"To go on, {lower}{otherwise}"
    )


def _thresholds(thresholds: Thresholds) -> dict[str, float]:
    """By the names of the node's inputs."""
    return {"box_threshold": thresholds.box, "text_threshold": thresholds.text}


def _lower(score: float, thresholds: Thresholds) -> str:
    """Which thresholds to lower, in hundredths, so that a box with this score counts; "" if none would help."""
    wanted = math.floor((score - ROUNDING) * 100) / 100
    names = [f"`{name}`" for name, value in _thresholds(thresholds).items() if value > wanted]
    return f"lower {' and '.join(names)} to {wanted:.2f}, " if wanted >= 0 else ""


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
