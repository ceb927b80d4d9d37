"""The scores of pictures that a protocol asked for, kept in a file so that none is computed twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import permutations
from pathlib import Path

import torch

from ...dev.setup.errors import SetupError
from ...nodes.concepts import choosing, detection, phrases
from ...nodes.concepts.host import finding, grounding, segmenting
from ...nodes.data import pictures as reading
from ...nodes.demo.host import tools
from ...nodes.joint.references import BACKGROUNDS
from ...nodes.metrics import similarity
from ...nodes.metrics.host import scoring
from ...nodes.metrics.host.encoders import Clip, Encoder, ScoreModels
from ...nodes.metrics.similarity import Scores
from .plan import Case, Subject

WHITE = "white"
"""What stands in place of backgrounds in MCLIP-I and MDINO."""
RULE = choosing.Rule(missing=choosing.EMPTY)
MOST_SHARED = 0.5
"""Masks that share more of the smaller one are of one instance, as a head's is of its dog."""
DEMO = ".safetensors"
"""What a file of the demo's tools ends with."""


class Cutter:
    """Finds a subject by its class and cuts it out, as the paper does: Grounding DINO, then Segment Anything."""

    def __init__(self, detector: Path, segmenter: Path | None):
        try:
            if detector.is_file() and detector.suffix == DEMO:
                self.detector = tools.load(detector)[1]
                self.segmenter = tools.ToyMasks(self.detector.finder)
            else:
                self.detector = grounding.load(detector)
                self.segmenter = segmenting.load(segmenter)
        except (ValueError, RuntimeError, OSError) as problem:
            raise SetupError(f"dreambench: {problem}") from problem

    def __call__(self, picture: torch.Tensor, word: str, count: int = 1) -> list[torch.Tensor]:
        """Where the ``word``'s best ``count`` instances are on a picture [H, W, 3]: masks [H, W]; fewer where there are fewer."""
        found = finding.find(self.detector, picture[None], phrases.split(word)[:1], RULE, detection.Thresholds())
        boxes = found.found[0][0] if count > 1 else tuple(filter(None, found.chosen[0]))
        if not boxes:
            return []
        [masks] = self.segmenter.masks(found.pictures, (boxes,))
        return distinct(masks)[:count]


def distinct(masks: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    """Those of masks [H, W], the surest first, that are not empty and of an instance of their own."""
    kept: list[torch.Tensor] = []
    for mask in masks:
        inside = mask > 0
        if inside.any() and all((inside & (one > 0)).sum() <= MOST_SHARED * min(inside.sum(), (one > 0).sum()) for one in kept):
            kept.append(mask)
    return kept


@dataclass(frozen=True, eq=False)
class Seen:
    """Embeddings of pictures by network: of whole ones, and of those that were cut out. rows: which those are."""

    whole: dict[str, torch.Tensor]
    masked: dict[str, torch.Tensor]
    rows: tuple[int, ...]


class Judge:
    """models: CLIP, DINO or both. cut: a `Cutter`; None leaves masked scores out. inputs_only: compare with the inputs alone."""

    def __init__(self, models: ScoreModels, cut: Callable | None, inputs_only: bool = False):
        self.encoders: dict[str, Encoder] = {n: e for n, e in (("clip", models.clip), ("dino", models.dino)) if e is not None}
        self.clip: Clip | None = models.clip
        self.cut, self.inputs_only = cut, inputs_only
        self.real: dict[str, Seen] = {}
        self.texts: dict[str, torch.Tensor] = {}

    def id(self, cut_with: Sequence[str]) -> str:
        """Names what scores depend on, for the file that keeps them."""
        told = [[(name, one.name, one.stamp) for name, one in self.encoders.items()], self.inputs_only, WHITE, *cut_with]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:12]

    def __call__(self, case: Case, picture: torch.Tensor) -> Scores:
        """The scores of a picture [H, W, 3] of a case: with two subjects the mean of both, as Subject-Diffusion's table 2."""
        whole = self._whole([picture])
        each = self._each(case, picture, whole)
        mean = asdict(similarity.mean(each))
        if self.cut and any(one.mdino is None and one.mclip_i is None for one in each):
            mean["mclip_i"] = mean["mdino"] = None  # a picture with one of two subjects says nothing of both
        if self.clip:
            if case.prompt not in self.texts:
                self.texts[case.prompt] = self.clip.texts([case.prompt])[0]
            mean["clip_t"] = float(similarity.to_own_text(whole["clip"], self.texts[case.prompt]))
        return Scores(**mean)

    def of_real(self, subject: Subject) -> Scores:
        """How alike real pictures of a subject are (JeDi, table 8), as far as it has two: what a perfect copyist would have."""
        seen = self._real(subject)
        every = (("clip_i", seen.whole.get("clip")), ("dino", seen.whole.get("dino")))
        every += (("mclip_i", seen.masked.get("clip")), ("mdino", seen.masked.get("dino")))
        return Scores(**{name: similarity.among(each) for name, each in every if each is not None and len(each) > 1})

    def _real(self, subject: Subject) -> Seen:
        if subject.name not in self.real:
            shown = [opened(path) for path in subject.pictures]
            cut = [self.cut(picture, subject.word) if self.cut else [] for picture in shown]
            self.real[subject.name] = self._see(shown, [masks[0] if masks else None for masks in cut], self._whole(shown))
        return self.real[subject.name]

    def _each(self, case: Case, picture: torch.Tensor, whole: dict[str, torch.Tensor]) -> list[Scores]:
        """The scores of a case's subjects. Those of one class have an instance each, shared out so that they are most alike in
        all; none has one where there are fewer."""
        subjects = list(zip(case.subjects, case.inputs, strict=True))
        each = [self._of(*one, Seen(whole, {}, ())) for one in subjects]
        for word in dict.fromkeys(one.word for one in case.subjects):
            places = [place for place, one in enumerate(case.subjects) if one.word == word]
            masks = self.cut(picture, word, len(places)) if self.cut else []
            if len(masks) < len(places):
                continue
            seen = [self._see([picture], [mask], whole) for mask in masks]
            alike = [[self._of(*subjects[place], one) for one in seen] for place in places]
            orders = [[row[one] for row, one in zip(alike, order, strict=True)] for order in permutations(range(len(seen)))]
            for place, scores in zip(places, max(orders, key=_total), strict=True):
                each[place] = scores
        return each

    def _of(self, subject: Subject, inputs: Sequence[int], made: Seen) -> Scores:
        """The scores of a picture that shows a subject."""
        real = self._real(subject)
        wanted = list(inputs) if self.inputs_only else list(range(len(subject.pictures)))
        found = {}
        for name, title, masked in (("clip", "clip_i", "mclip_i"), ("dino", "dino", "mdino")):
            if name not in self.encoders:
                continue
            found[title] = float(similarity.pairwise(made.whole[name], real.whole[name][wanted]))
            rows = [row for row, place in enumerate(real.rows) if place in wanted]
            if made.rows and rows:
                found[masked] = float(similarity.pairwise(made.masked[name], real.masked[name][rows]))
        return Scores(**found)

    def _see(
        self, pictures: Sequence[torch.Tensor], masks: Sequence[torch.Tensor | None], whole: dict[str, torch.Tensor]
    ) -> Seen:
        cut = {place: mask for place, mask in enumerate(masks) if mask is not None}
        rows = tuple(cut)
        alone = [scoring.on_colour(pictures[place], mask, BACKGROUNDS[WHITE]) for place, mask in cut.items()]
        masked = {name: one.pictures(alone, len(alone)) for name, one in self.encoders.items()} if rows else {}
        return Seen(whole, masked, rows)

    def _whole(self, pictures: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: one.pictures(map(reading.as_picture, pictures), len(pictures)) for name, one in self.encoders.items()}


def _total(every: Iterable[Scores]) -> float:
    return sum(value for one in every for value in (one.mclip_i, one.mdino) if value is not None)


class FaceJudge:
    """Subject-Diffusion's table 4: likeness of the largest faces. A picture without a face has 0, as one that shows nobody.

    analysis: what has `faces(picture)`. The published figures are FaceNet's; those of another recogniser do not compare.
    """

    def __init__(self, analysis, clip: Clip | None):
        self.analysis, self.clip = analysis, clip
        self.known: dict[Path, torch.Tensor] = {}

    def __call__(self, case: Case, picture: torch.Tensor) -> dict:
        """identity: the mean over the inputs. face: whether the picture shows one. clip_t: None without CLIP."""
        mine = self._face(picture)
        given = [self._known(case.subjects[0].pictures[place]) for place in case.inputs[0]]
        every = [0.0 if mine is None else float(one @ mine) for one in given]
        said = {"identity": sum(every) / len(every), "face": mine is not None, "clip_t": None}
        if self.clip:
            seen = self.clip.pictures([reading.as_picture(picture)], 1)
            said["clip_t"] = float(similarity.to_own_text(seen, self.clip.texts([case.prompt])[0]))
        return said

    def of_real(self, subject: Subject) -> dict[str, float]:
        """identity: how alike a person's pictures are, where there are two. Raises SetupError for one without a face."""
        every = [self._known(path) for path in subject.pictures]
        return {"identity": similarity.among(torch.stack(every))} if len(every) > 1 else {}

    def _known(self, path: Path) -> torch.Tensor:
        if path not in self.known:
            found = self._face(opened(path))
            if found is None:
                raise SetupError(f"dreambench: no face was found in {path}, but one is needed to compare with. Take it out.")
            self.known[path] = found
        return self.known[path]

    def _face(self, picture: torch.Tensor) -> torch.Tensor | None:
        faces = self.analysis.faces(picture)
        return similarity.unit(max(faces, key=lambda face: face.area).embedding[None].cpu())[0] if faces else None


def opened(path: Path) -> torch.Tensor:
    """A picture file as [H, W, 3]. Raises SetupError with the file."""
    try:
        return reading.tensor(reading.decode(path.read_bytes()))
    except (reading.Damaged, OSError) as problem:
        raise SetupError(f"dreambench: {path} cannot be used: {problem}. Take it out, or get it again.") from problem
