"""What labelled pictures hold, in the form of Subject-Diffusion's table 5 and figure 6, and what its filters dropped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from .filters import ORDER, RULES

KEPT, DAMAGED, SMALL, NO_CAPTION, NO_NOUNS, NOTHING_FOUND, NOTHING_LEFT = OUTCOMES = (
    "kept", "damaged", "too small", "without a caption", "no noun in the caption", "nothing found", "nothing left by the filters"
)  # fmt: skip
WORDS, BOXES = (5, 10, 16, 21), (2, 3, 4, 5, 6, 11)
"""Where the next bin of words a caption, and of boxes a picture, begins."""
MOST_FREQUENT, REASONS = 20, 5
PAPER = {"pictures": "76M", "entities": "222M", "classes": "162K"}
"""Table 5's column of the paper's own data."""


def summary(record: dict) -> dict:
    """What of a picture's record counts: outcome, candidates, what each filter dropped, words, classes."""
    classes = [entity["class"] for entity in record.get("entities", ())]
    counted = {name: record[name] for name in ("key", "outcome", "reason", "candidates", "dropped") if name in record}
    return {**counted, "words": len(record.get("caption", "").split()), "classes": classes}


@dataclass
class Statistics:
    """Counts over pictures. outcomes: by one of OUTCOMES. reasons: why pictures are damaged.

    candidates: boxes before the filters. dropped: by filter.
    words, boxes: how many of the kept pictures have a caption of so many words, and so many entities. classes: entities of each.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    candidates: int = 0
    dropped: Counter[int] = field(default_factory=Counter)
    words: Counter[int] = field(default_factory=Counter)
    boxes: Counter[int] = field(default_factory=Counter)
    classes: Counter[str] = field(default_factory=Counter)

    def add(self, counted: dict) -> None:
        """Count one picture, given as its `summary`."""
        self.outcomes[counted["outcome"]] += 1
        self.reasons.update(counted[name] for name in ("reason",) if name in counted)
        self.candidates += counted.get("candidates", 0)
        self.dropped.update({int(number): count for number, count in counted.get("dropped", {}).items()})
        if counted["outcome"] == KEPT:
            self.words[counted["words"]] += 1
            self.boxes[len(counted["classes"])] += 1
            self.classes.update(counted["classes"])

    def as_dict(self) -> dict:
        """For JSON: every count, keys in order."""
        return {
            "pictures": {name: self.outcomes[name] for name in OUTCOMES},
            "entities": self.classes.total(),
            "candidates": self.candidates,
            "dropped": {str(number): self.dropped[number] for number in sorted(RULES)},
            "words": {str(number): count for number, count in sorted(self.words.items())},
            "boxes": {str(number): count for number, count in sorted(self.boxes.items())},
            "classes": dict(self.classes.most_common()),
        }

    def text(self) -> str:
        """The report that a user reads."""
        kept, entities = self.outcomes[KEPT], self.classes.total()
        read = self.outcomes.total()
        lines = [f"{read} pictures", *(f"  {self.outcomes[name]:>9}  {name}" for name in OUTCOMES if self.outcomes[name])]
        lines += [f"  {'':>9}  {DAMAGED}: {count} {reason}" for reason, count in self.reasons.most_common(REASONS)]
        lines += ["", f"{self.candidates} boxes found, and what each filter dropped, in this order"]
        lines += [f"  {self.dropped[number]:>9}  filter {number}: {RULES[number]}" for number in ORDER]
        lines += ["", f"{'Table 5':<12}{'here':>12}{'the paper':>12}"]
        here = {"pictures": kept, "entities": entities, "classes": len(self.classes)}
        lines += [f"  {name:<10}{count:>12}{PAPER[name]:>12}" for name, count in here.items()]
        if kept:
            lines += ["", "Figure 6: words a caption", *_bars(self.words, WORDS), "", "Figure 6: boxes a picture"]
            lines += [*_bars(self.boxes, BOXES), "", f"Figure 6: the most frequent of {len(self.classes)} classes"]
            lines += [f"  {name:<20} {count:>9}" for name, count in self.classes.most_common(MOST_FREQUENT)]
        return "\n".join(lines)


def _bars(counts: Counter[int], starts: Iterable[int]) -> list[str]:
    """A line for each bin: its bounds, the pictures in it, their share, a bar."""
    edges, lines = [1, *starts], []
    for first, after in zip(edges, [*edges[1:], None], strict=True):
        inside = sum(count for number, count in counts.items() if number >= first and (after is None or number < after))
        name = f"{first} or more" if after is None else f"{first}" if after == first + 1 else f"{first} to {after - 1}"
        share = inside / counts.total()
        lines.append(f"  {name:<11} {inside:>9} {share:>7.1%} {'#' * round(40 * share)}")
    return lines
