"""Finding concepts on pictures and giving each its mask: what the nodes `Find Concepts` and `Concept Masks` do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from .. import by_hand, choosing, detection, masks, phrases
from ..by_hand import Entry
from ..places import Boxes, Concepts, Finish, place
from . import corrections


def find(
    detector, pictures: torch.Tensor, names: list[str], rule: choosing.Rule, thresholds: detection.Thresholds,
    wanted: Sequence[Entry] = (),
) -> Boxes:  # fmt: skip
    """The boxes of K normalised phrases ``names`` on pictures [B, H, W, 3] in 0..1.

    detector: a `grounding.Detector`, or what has its `token_ids` and `detect`. wanted: what a user chose by hand, of `chosen`.
    Raises as `choosing.choose` does.
    """
    by_hand.check(wanted, names, by_hand.CHOSEN, len(pictures))
    ids = detector.token_ids(phrases.caption(names))
    spans = phrases.spans(ids, names)
    height, width = pictures.shape[1:3]
    chosen, found = [], []
    for number, (logits, boxes) in enumerate(detector.detect(pictures, ids), 1):
        by_phrase = detection.boxes_by_phrase(logits, boxes, spans, width, height, thresholds)
        chosen.append(tuple(choosing.choose(names, by_phrase, rule, thresholds, f"picture {number}", by_hand.at(wanted, number))))
        found.append(tuple(tuple(by_phrase[name].boxes) for name in names))
    return Boxes(tuple(names), pictures, tuple(chosen), tuple(found))


def cut_out(
    boxes: Boxes, finish: Finish, segmenter=None, own: Sequence[torch.Tensor | None] = (), painted: Sequence[Entry] = ()
) -> Concepts:
    """The concepts with a mask each. segmenter: a `segmenting.Segmenter`; None gives masks in the shape of the boxes.

    own: none, or for each concept None or its mask [1 or B, H, W], which is taken instead of cutting it out. painted: what a
    user corrected by hand, of `corrections`. Raises ValueError where that does not fit, or as `places.place` does.
    """
    by_hand.check(painted, boxes.phrases, by_hand.CORRECTIONS, len(boxes.pictures))
    for entry in painted:
        by_hand.check_place(entry, boxes.chosen[entry.picture - 1][entry.concept - 1], boxes.phrases[entry.concept - 1])
    given = {number: mine for number, mine in enumerate(own) if mine is not None}
    sought = [tuple(None if number in given else box for number, box in enumerate(row)) for row in boxes.chosen]
    if segmenter is None or not any(box for row in sought for box in row):
        raw = _box_shaped(replace(boxes, chosen=tuple(sought)))
    else:
        raw = segmenter.masks(boxes.pictures, tuple(sought))
    placed = []
    for number, (found, row) in enumerate(zip(raw, boxes.chosen, strict=True)):
        for concept, mine in given.items():
            found[concept] = mine[number % len(mine)]
        mended = corrections.read(by_hand.at(painted, number + 1), *boxes.pictures.shape[1:3])
        placed.append(place(found, row, boxes.phrases, finish, f"Concept Masks: in picture {number + 1}", mended))
    return Concepts(boxes.phrases, boxes.chosen, torch.stack(placed), finish.feather)


def _box_shaped(boxes: Boxes) -> Iterator[torch.Tensor]:
    """For each picture masks [K, H, W] in the shape of its boxes, zeros where a concept is empty."""
    for row in boxes.chosen:
        corners = torch.tensor([box.corners if box else (0.0,) * 4 for box in row])
        yield masks.from_boxes(corners, *boxes.pictures.shape[1:3])
