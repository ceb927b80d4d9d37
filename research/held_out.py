"""Cases of subjects never trained on: what is asked for, and what a generated picture of it is compared with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from . import world

DISTRACTORS = 100


@dataclass(frozen=True)
class HeldOut:
    """Subjects of one shape, wanted in one scene; pictures are [B, 3, H, W] in 0..1.

    views: reference pictures, in other scenes than ``scene``. captions: theirs. prompt: what to generate. phrase: the
    shape's word. candidates: a fresh view of each subject, then the distractors, all in that scene. masks: theirs, as drawn,
    [B, 1, H, W]. view_masks: those of the views.
    """

    views: torch.Tensor
    captions: list[str]
    prompt: str
    phrase: str
    scene: int
    candidates: torch.Tensor
    masks: torch.Tensor
    view_masks: torch.Tensor


def draw(first_seed: int, number: int, shown: list[int], prompt: Callable[[int, int], str]) -> HeldOut:
    """Case ``number``; shapes and scenes take turns. shown: the subject of each view. prompt: of a shape in a scene.

    first_seed: of case 0, far from the small numbers that seed the one stream of training.
    """
    generator = torch.Generator().manual_seed(first_seed + number)
    shape, scene = world.take_turns(number)
    subjects = world.draw_subjects(1 + max(shown) + DISTRACTORS, generator, shape)
    elsewhere = world.other_scenes(scene, len(shown), generator)
    views, view_masks = world.draw(subjects[shown], world.draw_poses(len(shown), generator), elsewhere, generator)
    asked = torch.full((len(subjects),), scene)
    candidates, masks = world.draw(subjects, world.draw_poses(len(subjects), generator), asked, generator)
    captions = [world.caption(shape, int(other)) for other in elsewhere]
    return HeldOut(views, captions, prompt(shape, scene), world.SHAPES[shape], scene, candidates, masks, view_masks)
