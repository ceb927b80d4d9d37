"""From Grounding DINO's outputs to the boxes of each phrase (Liu et al., 2023, and its published inference)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from .boxes import Box, without_duplicates


@dataclass(frozen=True)
class Found:
    """What one picture holds for one phrase.

    boxes: over the threshold, best first. best_score: of any box, over the threshold or not. rival: the
    phrase that took the last box of this one, "" if none did.
    """

    boxes: list[Box] = field(default_factory=list)
    best_score: float = 0.0
    rival: str = ""


@dataclass(frozen=True)
class Thresholds:
    """When a box counts, each 0 to 1.

    box: least score of a box for a phrase. text: least probability of a token that decides between phrases. overlap: boxes
    of one phrase that overlap more (intersection over union) count as one.
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
    inference; it must exceed ``thresholds.box``. Departure: the published inference makes a label of all
    tokens above ``thresholds.text``, so that a label may mix phrases. Here these tokens only decide between
    phrases: a box belongs to the phrase for which their probabilities sum to most, and to none without one.
    """
    probabilities = logits.float().sigmoid()
    said = torch.where(probabilities > thresholds.text, probabilities, 0)
    scores = torch.stack([probabilities[:, span.start : span.stop].amax(-1) for span in spans.values()])  # [K, Q]
    fit = torch.stack([said[:, span.start : span.stop].sum(-1) for span in spans.values()])  # [K, Q]
    owner = torch.where(fit.amax(0) > 0, fit.argmax(0), -1)  # [Q]
    names = list(spans)
    centre, size = boxes.float().split(2, dim=-1)
    xyxy = torch.cat((centre - size / 2, centre + size / 2), -1) * torch.tensor([width, height, width, height]).to(boxes.device)
    scores, owner, xyxy = scores.cpu(), owner.cpu(), xyxy.cpu()

    found = {}
    for number, phrase in enumerate(names):
        above = (scores[number] > thresholds.box).nonzero().flatten().tolist()
        own = [query for query in above if owner[query] == number]
        best = scores[number].amax().item() if scores.shape[1] else 0.0
        lost_to = [int(owner[query]) for query in above if owner[query] not in (number, -1)]
        mine = [Box(*(*xyxy[query].tolist(), scores[number, query].item())).clipped(width, height) for query in own]
        mine = without_duplicates([box for box in mine if box.area > 0], thresholds.overlap)
        found[phrase] = Found(mine, best, names[lost_to[0]] if lost_to and not mine else "")
    return found
