"""From Grounding DINO's outputs to the boxes of each phrase (Liu et al., 2023, and its published inference)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from .boxes import Box, without_duplicates


@dataclass(frozen=True)
class Found:
    """What one picture holds for one phrase.

    boxes: over the thresholds, best first. best_score: of any box, over the thresholds or not. own_score: the same among
    the boxes that fit no other phrase better: thresholds below it give the phrase a box. rival: the phrase that took its best
    box over the thresholds, "" unless it lost all of them.
    """

    boxes: list[Box] = field(default_factory=list)
    best_score: float = 0.0
    own_score: float = 0.0
    rival: str = ""


@dataclass(frozen=True)
class Thresholds:
    """When a box counts, each 0 to 1.

    box: what its score for a phrase must exceed. text: what a token's probability must exceed for the phrase to be seen
    there. overlap: boxes of one phrase that overlap more (intersection over union) count as one.
    """

    box: float = 0.35
    text: float = 0.25
    overlap: float = 0.7


def boxes_by_phrase(
    logits: torch.Tensor,
    boxes: torch.Tensor,
    spans: dict[str, range],
    width: int,
    height: int,
    thresholds: Thresholds,
) -> dict[str, Found]:
    """The boxes that belong to each phrase of one picture.

    logits: [Q, T], before the sigmoid, -inf where there is no token. boxes: [Q, 4], cxcywh, 0 to 1 of the
    picture, whose size in pixels is width and height. spans: from `phrases.spans`.

    A box's score for a phrase is the highest probability of the phrase's tokens, as in the published
    inference; it must exceed ``thresholds.box``, and ``thresholds.text`` too. Departure: the published inference makes a
    label of all tokens above ``thresholds.text``, so that a label may mix phrases. Here a box belongs to the phrase that
    it has the highest score for: neither the number of words counts, as in a sum, nor how sure an article is, as in
    a mean. Of equal scores the phrase with more seen tokens wins (by their sum), then the shorter, then the first.
    """
    probabilities = logits.float().sigmoid()
    seen = torch.where(probabilities > thresholds.text, probabilities, 0)
    scores = torch.stack([probabilities[:, span.start : span.stop].amax(-1) for span in spans.values()])  # [K, Q]
    wholeness = torch.stack([seen[:, span.start : span.stop].sum(-1) for span in spans.values()])  # [K, Q]
    brevity = scores.new_tensor([-len(span) for span in spans.values()])[:, None].expand_as(scores)
    owner = _first_best(scores, wholeness, brevity)
    names = list(spans)
    centre, size = boxes.float().split(2, dim=-1)
    limits = torch.tensor([width, height, width, height], device=boxes.device)
    xyxy = (torch.cat((centre - size / 2, centre + size / 2), -1) * limits).clamp(min=0).minimum(limits)
    scores = scores.masked_fill((xyxy[:, 2:] <= xyxy[:, :2]).any(-1), 0)  # a box beside the picture
    scores, owner, xyxy = scores.cpu(), owner.cpu(), xyxy.cpu()

    found = {}
    for number, phrase in enumerate(names):
        above = (scores[number] > max(thresholds.box, thresholds.text)).nonzero().flatten().tolist()
        own, lost = ([query for query in above if (owner[query] == number) == mine] for mine in (True, False))
        mine = [Box(*(*xyxy[query].tolist(), scores[number, query].item())) for query in own]
        mine = without_duplicates(mine, thresholds.overlap)
        rival = "" if mine or not lost else names[int(owner[max(lost, key=lambda query: scores[number, query])])]
        found[phrase] = Found(mine, _highest(scores[number]), _highest(scores[number][owner == number]), rival)
    return found


def _first_best(*criteria: torch.Tensor) -> torch.Tensor:
    """For each of Q boxes the phrase that is best by the first of these criteria [K, Q], among equal ones by the next: [Q]."""
    best = torch.ones_like(criteria[0], dtype=torch.bool)
    for criterion in criteria:
        criterion = criterion.masked_fill(~best, -torch.inf)
        best = best & (criterion == criterion.amax(0))
    return best.int().argmax(0)


def _highest(scores: torch.Tensor) -> float:
    return scores.amax().item() if len(scores) else 0.0
