"""The pictures of the help pages, each a table of cells: a row for each of some held-out subjects."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image

from ..nodes.joint.host import subject_masks
from . import measure
from .evaluate import SETTINGS

SUBJECTS = (0, 5, 10, 15)
SEED = 1
SIDE = 128
"""Pixels of a cell."""
STRENGTHS = (0.0, 0.5, 1.0, 2.0, 4.0)


@torch.inference_mode()
def run(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    subjects = [measure.held_out(number) for number in SUBJECTS]
    single, joint = measure.Sampler("single", steps=20), measure.Sampler("joint", steps=20)
    given = torch.cat([subject.views[:1] for subject in subjects])
    auto = SETTINGS["stock-auto"]

    strengths = [single.pictures(subjects, replace(auto, strength=strength), SEED) for strength in STRENGTHS]
    save(folder / "strength.jpg", [given, *strengths])

    found = subject_masks.find(single.model, single.joint_set(subjects, auto, SEED), None)
    drawn = torch.cat([subject.view_masks[:1] for subject in subjects]).expand(-1, 3, -1, -1)
    save(folder / "masks.jpg", [given, torch.stack(found)[:, None].expand(-1, 3, -1, -1), drawn])

    recipes = [
        single.pictures(subjects, SETTINGS["training-free-no-reference"], SEED),
        single.pictures(subjects, replace(SETTINGS["training-free"], cfg=auto.cfg), SEED),
        single.pictures(subjects, auto, SEED),
        joint.pictures(subjects, SETTINGS["joint"], SEED),
    ]
    save(folder / "recipes.jpg", [given, *recipes])


def save(path: Path, columns: list[torch.Tensor]) -> None:
    """Pictures [B, 3, h, w] in 0..1, a column each, as one JPEG."""
    cells = [torch.nn.functional.interpolate(column.float(), (SIDE, SIDE), mode="nearest") for column in columns]
    whole = torch.cat([torch.cat(list(column), dim=1) for column in cells], dim=2)
    Image.fromarray((whole.movedim(0, -1) * 255).round().byte().numpy()).save(path, quality=90)
    print(f"{path}: {len(columns)} columns of {len(columns[0])} subjects")
