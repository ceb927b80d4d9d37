"""One process's models, and what they make of a picture: caption, nouns, boxes, masks, filters."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ...dev.setup.errors import SetupError
from ...nodes.concepts import detection, phrases
from ...nodes.concepts.host import grounding, segmenting
from ...nodes.data import pictures
from ...nodes.demo.host import tools
from . import filters, nouns, rle, statistics
from .filters import Candidate
from .sources import Item

DEMO = ".safetensors"
"""What a file of the demo's tools ends with; detectors that are published as one file end otherwise."""
EVERY_BOX = 1.0
"""No two boxes of a noun are taken for one by the detector: filter 3 does it, and counts."""


@dataclass(frozen=True)
class Settings:
    """What decides about labels. detector: a Grounding DINO file or folder, or a file of the demo's tools.

    segmenter: a Segment Anything file; "" takes the demo's own masks. tagger: a spaCy pipeline. blip2: a folder, "" for captions
    that are given; recaption: take its captions for all pictures. least_side: the shorter side must be greater. least_seen:
    score of a box that counts as found, before the filters. off: numbers of filters that are not used.
    """

    detector: str
    segmenter: str = ""
    tagger: str = nouns.MODEL
    blip2: str = ""
    recaption: bool = False
    least_side: int = 0
    least_seen: float = 0.1
    off: tuple[int, ...] = ()


class Labeller:
    """Holds the models. Raises SetupError where one cannot be loaded."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.tagger = nouns.load(settings.tagger)
        try:
            if settings.detector.endswith(DEMO):
                self.detector: Any = tools.load(Path(settings.detector))[1]
            else:
                self.detector = grounding.load(Path(settings.detector))
            if settings.segmenter:
                self.segmenter: Any = segmenting.load(Path(settings.segmenter))
            elif settings.detector.endswith(DEMO):
                self.segmenter = tools.ToyMasks(self.detector.finder)
            else:
                raise SetupError(
                    "label: there is nothing to cut entities out with. Give a Segment Anything file with `--segmenter`."
                )
        except (ValueError, RuntimeError, OSError) as problem:
            raise SetupError(f"label: {problem}") from problem
        self.captioner = None
        if settings.blip2:
            from ...nodes.synthesis.host.captioning import Captioner

            try:
                self.captioner = Captioner(Path(settings.blip2))
            except ValueError as problem:
                raise SetupError(f"label: {problem}") from problem

    def label(self, item: Item) -> dict:
        """The record of a picture, ready for JSON: its item, an outcome of `statistics.OUTCOMES`, and what led to it."""
        record: dict = {"key": item.key, "path": item.path, "start": item.start, "length": item.length}
        try:
            data = item.read()
            picture = pictures.decode(data)
        except pictures.Damaged as problem:
            return {**record, "outcome": statistics.DAMAGED, "reason": str(problem)}
        record |= {"sha256": hashlib.sha256(data).hexdigest(), "width": picture.width, "height": picture.height}
        if min(picture.size) <= self.settings.least_side:
            return {**record, "outcome": statistics.SMALL}
        caption = item.caption
        if self.captioner and (self.settings.recaption or not caption):
            caption = self.captioner(picture)
        if not caption:
            return {**record, "outcome": statistics.NO_CAPTION}
        record["caption"] = caption
        named = nouns.nouns(self.tagger(caption))
        if not named:
            return {**record, "outcome": statistics.NO_NOUNS}
        shown = pictures.tensor(picture)
        found = self.found(shown, named)
        if not found:
            return {**record, "outcome": statistics.NOTHING_FOUND}
        kept, dropped = filters.by_box(found, picture.width, picture.height, self.settings.off)
        entities, thin = self.cut_out(shown, kept)
        dropped[6] += thin
        outcome = statistics.KEPT if entities else statistics.NOTHING_LEFT
        counted = {str(number): count for number, count in sorted(dropped.items()) if count}
        return {**record, "outcome": outcome, "candidates": len(found), "dropped": counted, "entities": entities}

    def found(self, picture: torch.Tensor, named: list[nouns.Noun]) -> list[Candidate]:
        """Every box of every noun on a picture [H, W, 3], the surest of each noun first."""
        least = self.settings.least_seen
        thresholds = detection.Thresholds(box=least, text=least, overlap=EVERY_BOX)
        plural = {noun.name: noun.plural for noun in named}
        candidates = []
        for ids, spans in self.captions(list(plural)):
            [(logits, boxes)] = self.detector.detect(picture[None], ids)
            height, width = picture.shape[:2]
            for name, found in detection.boxes_by_phrase(logits, boxes, spans, width, height, thresholds).items():
                candidates += [Candidate(name, box, plural[name]) for box in found.boxes]
        return candidates

    def captions(self, names: list[str]) -> list[tuple[list[int], dict[str, range]]]:
        """Tokens and spans of as few of the detector's captions as hold these nouns; one that it cannot read is left out."""
        ids = self.detector.token_ids(phrases.caption(names))
        try:
            return [(ids, phrases.spans(ids, names))]
        except ValueError:
            half = len(names) // 2
            return [*self.captions(names[:half]), *self.captions(names[half:])] if half else []

    def cut_out(self, picture: torch.Tensor, kept: list[Candidate]) -> tuple[list[dict], int]:
        """The entities as they stand in a shard, and how many filter 6 dropped. picture: [H, W, 3]."""
        if not kept:
            return [], 0
        [masks] = self.segmenter.masks(picture[None], (tuple(one.box for one in kept),))
        height, width = picture.shape[:2]
        entities, thin = [], 0
        for one, mask in zip(kept, masks > 0.5, strict=True):
            pixels = int(mask.sum())
            if pixels and (6 in self.settings.off or filters.fills(one.box, pixels)):
                left, top, right, bottom = one.box.clipped(width, height).corners
                box = [round(share, 6) for share in (left / width, top / height, right / width, bottom / height)]
                score = round(one.box.score, 4)
                entities.append({"class": one.name, "box": box, "score": score, "mask": rle.encode(mask)})
            else:
                thin += 1
        return entities, thin
