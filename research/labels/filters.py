"""The seven filters of Subject-Diffusion (Ma et al., 2024, appendix B.1), with its numbers.

Where the paper leaves a choice, it is taken as follows. Filters drop entities, and a picture is left out when none of its
entities is left, also for filters 2 and 6, of which the paper says "images". Of boxes that overlap too much (3) the one with
the best score stays, whatever they are called. A class that is in a picture too often (4) leaves it altogether. The paper uses
7 on OpenImages alone, whose annotations mark groups; here a group is a word for one, or a plural that has a single box, and parts
of the body are known by their words. Each entity is counted by the first filter that drops it, in the order of `ORDER`:
first what is no detection, then what is counted, then each box, and last what needs a mask.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from ...nodes.concepts.boxes import Box, without_duplicates

RATIOS = (0.3, 3.0)
AREAS = (0.05, 0.7)
MOST_OVERLAP, MOST_OF_ONE, LEAST_SCORE, LEAST_FILLED = 0.8, 5, 0.2, 0.6
RULES = {
    1: f"width / height of the box outside {RATIOS[0]} to {RATIOS[1]:g}",
    2: f"box outside {AREAS[0]} to {AREAS[1]} of the picture",
    3: f"overlaps a better box by more than {MOST_OVERLAP}",
    4: f"its class more than {MOST_OF_ONE} times in the picture",
    5: f"score below {LEAST_SCORE}",
    6: f"mask below {LEAST_FILLED:.0%} of its box",
    7: "a group, or a part of the body",
}
ORDER = (5, 3, 4, 7, 1, 2, 6)
GROUPS = frozenset(
    "army audience band batch bunch bundle cluster collection congregation couple crew crowd family fleet flock gang group herd "
    "lot mob number pair pile procession row series set stack swarm team trio variety".split()
)
BODY = frozenset(
    "abdomen ankle arm back beard belly body bottom brow butt cheek chest chin ear elbow eye eyebrow eyelash face finger "
    "fingernail fist foot forehead hair hand head heel hip jaw knee knuckle lap leg limb lip moustache mouth mustache navel "
    "neck nose nostril scalp shin shoulder skin stomach thigh throat thumb toe tongue tooth torso waist wrist".split()
)


@dataclass(frozen=True)
class Candidate:
    """What was found for a noun. name: its class. box: in pixels, with its score. plural: whether the caption says several."""

    name: str
    box: Box
    plural: bool = False


def by_box(
    candidates: Iterable[Candidate], width: int, height: int, off: Iterable[int] = ()
) -> tuple[list[Candidate], Counter[int]]:
    """The candidates of one picture that pass all filters but 6, and how many each of those dropped. off: not used."""
    area = width * height

    def shaped(box: Box) -> bool:
        return RATIOS[0] * (box.bottom - box.top) <= box.right - box.left <= RATIOS[1] * (box.bottom - box.top)

    def distinct(given: list[Candidate]) -> list[Candidate]:
        apart = {id(box) for box in without_duplicates([one.box for one in given], MOST_OVERLAP)}
        return [one for one in given if id(one.box) in apart]

    def few(given: list[Candidate]) -> list[Candidate]:
        times = Counter(one.name for one in given)
        return [one for one in given if times[one.name] <= MOST_OF_ONE]

    def single(given: list[Candidate]) -> list[Candidate]:
        times = Counter(one.name for one in given)
        return [
            one for one in given
            if one.name.removeprefix("human ") not in GROUPS | BODY and not (one.plural and times[one.name] == 1)
        ]  # fmt: skip

    filters = {
        1: lambda given: [one for one in given if shaped(one.box)],
        2: lambda given: [one for one in given if AREAS[0] * area <= one.box.area <= AREAS[1] * area],
        3: distinct,
        4: few,
        5: lambda given: [one for one in given if one.box.score >= LEAST_SCORE],
        7: single,
    }
    kept, dropped = list(candidates), Counter[int]()
    for number in ORDER:
        if number in filters and number not in off:
            before, kept = len(kept), filters[number](kept)
            dropped[number] += before - len(kept)
    return kept, dropped


def fills(box: Box, pixels: int) -> bool:
    """Filter 6: whether a mask of so many pixels fills enough of its box."""
    return pixels >= LEAST_FILLED * box.area
