"""The figures of each row: pictures of held-out subjects, judged, kept on disk as they come."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from ...dev.setup.unpacking import sha256_of
from ...nodes.data.whole_files import whole
from ...nodes.demo.host import tools as demo_tools
from ...nodes.joint import guidance
from .. import export, finder, held_out, measure, world
from .. import judge as judges
from ..evaluate import BATCH, HELD_OUT, Setting
from ..held_out import HeldOut
from .arms import Row

FIGURES = ("top1", "similarity", "masked_similarity", "caption", "caption_probability", "copied_scene")


def case(number: int, views: int, reshaped: bool) -> HeldOut:
    """Held-out subject ``number``. reshaped: its prompt names another shape than it has."""
    drawn = held_out.draw(HELD_OUT, number, [0] * views, world.caption)
    return replace(drawn, prompt=world.caption(asked_shape(number), drawn.scene)) if reshaped else drawn


def asked_shape(number: int) -> int:
    """The shape that a reshaped caption names: each of the others in turn."""
    shape, _ = world.take_turns(number)
    kinds = len(world.SHAPES)
    return (shape + 1 + number // (kinds * len(world.SCENES)) % (kinds - 1)) % kinds


class Scorer(measure.Scorer):
    """The judges' verdict on a picture of one case. shapes: who says what shape a toy has, for a caption that names another."""

    def __init__(self, judge: judges.Judge, shapes: finder.Finder, number: int, views: int, reshaped: bool):
        self.case = case(number, views, reshaped)
        super().__init__(judge, self.case)
        self.case = replace(self.case, candidates=self.case.candidates[:0], masks=self.case.masks[:0])
        self.shapes, self.asked = shapes, asked_shape(number) if reshaped else None
        self.shown = judge.scenes(self.case.views[:1]).argmax().item()

    def __call__(self, picture: torch.Tensor) -> dict[str, float]:
        found = super().__call__(picture)
        scenes = self.judge.scenes(picture)[0].exp()
        caption, probability = scenes.argmax().item() == self.scene, scenes[self.scene].item()
        if self.asked is not None:
            shapes = self.shape(picture)
            caption, probability = caption and shapes.argmax().item() == self.asked, probability * shapes[self.asked].item()
        found |= {"caption": float(caption), "caption_probability": probability}
        found["copied_scene"] = float(scenes.argmax().item() == self.shown)
        return {name: found[name] for name in FIGURES}

    def shape(self, picture: torch.Tensor) -> torch.Tensor:
        """Probabilities of the shapes, seen as the finder sees a toy; where no toy is seen, none is more likely."""
        mask = self.judge.mask(picture)
        if not mask.any():
            return torch.full((len(world.SHAPES),), 1 / len(world.SHAPES))
        return self.shapes.shapes(*finder.squares(picture, mask))[0].softmax(dim=0)


class Measurer:
    """Figures of rows, each picture once: rows that share model and setting share them, and a stopped run goes on.

    folder: where they are kept. steps: of the sampler. opened: a sampler of an arm.
    """

    def __init__(self, folder: Path, steps: int, opened: Callable[[str], measure.Sampler], path_of: Callable[[str], Path]):
        self.folder, self.steps, self.opened, self.path_of = folder, steps, opened, path_of
        self.samplers: dict[str, measure.Sampler] = {}
        self.scorers: dict[tuple, Scorer] = {}
        self.hashes: dict[Path, str] = {}
        self.judge = judges.load()
        self.shapes = demo_tools.load(export.FILES["scene"])[1].finder

    @torch.inference_mode()
    def rows(self, row: Row, subjects: int, views: int) -> list[dict[str, float]]:
        """The figures of each subject."""
        setting = canonical(row.setting)
        kept = self.folder / f"{self._key(row, setting, views)}.json"
        found = json.loads(kept.read_text()) if kept.is_file() else []
        if len(found) < subjects:
            found = found[: len(found) // BATCH * BATCH]  # a batch's noise follows from its first subject
        for first in range(len(found), subjects, BATCH):
            scorers = [self._scorer(number, views, row.reshaped) for number in range(first, min(first + BATCH, subjects))]
            pictures = self._sampler(row.arm).pictures([one.case for one in scorers], setting, HELD_OUT + first)
            found += [scorer(picture[None]) for scorer, picture in zip(scorers, pictures, strict=True)]
            with whole(kept) as part:
                part.write_text(json.dumps(found))
        return found[:subjects]

    def _key(self, row: Row, setting: Setting, views: int) -> str:
        path = self.path_of(row.arm)
        if path not in self.hashes:
            self.hashes[path] = sha256_of(path)
        said = json.dumps([self.hashes[path], vars(setting), row.reshaped, views, self.steps])
        return hashlib.sha256(said.encode()).hexdigest()[:16]

    def _sampler(self, arm: str) -> measure.Sampler:
        if arm not in self.samplers:
            self.samplers[arm] = self.opened(arm)
        return self.samplers[arm]

    def _scorer(self, *case: int | bool) -> Scorer:
        if case not in self.scorers:
            self.scorers[case] = Scorer(self.judge, self.shapes, *case)
        return self.scorers[case]


def canonical(setting: Setting) -> Setting:
    """The same for settings that paint the same: at equal scales all modes with image guidance are one."""
    if setting.mode in (guidance.JOINT, guidance.TEXT_ONLY):
        return replace(setting, image=0.0)
    if guidance.needs_partial(setting.mode, setting.cfg, setting.image):
        return setting
    return replace(setting, mode=guidance.JOINT, image=0.0)
