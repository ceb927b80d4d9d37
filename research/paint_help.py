"""The pictures of the help pages, each a table of cells: a row for each of some held-out subjects."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from ..nodes.data.pictures import as_picture
from ..nodes.joint import correspondence, heat_maps
from ..nodes.joint.host import subject_masks
from . import finding_eyes, measure
from .evaluate import SETTINGS

SUBJECTS = (0, 5, 10, 15)
EYED = (0, 1, 3, 19)
"""Subjects of `finding_eyes`, all with eyes."""
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
    save_correspondence(folder / "correspondence.jpg")


def save_correspondence(path: Path) -> None:
    """A point on an eye of a toy's first reference, and what matches it in the second and in a generated picture; a row a toy."""
    cases, rows = [finding_eyes.case(number) for number in EYED], []
    taken, made = finding_eyes.Viewer(steps=20).look(cases, seed=finding_eyes.FIRST)
    for number, (one, picture) in enumerate(zip(cases, made, strict=True)):
        pictures = torch.cat((picture[None], one.views)).movedim(1, -1)
        x, y, _ = finding_eyes.drawn_eyes(one, 0)[0]
        table = correspondence.table(taken, number)
        whole = heat_maps.drawn(pictures, table, 1, x, y)[0]
        cells = whole.unfold(1, heat_maps.SIDE, heat_maps.SIDE + heat_maps.GAP).permute(1, 0, 3, 2)  # [3, H, W, 3]
        rows.append(torch.cat(list(cells[[1, 2, 0]]), dim=1))
    whole = as_picture(torch.cat(rows))
    whole.resize((whole.width // 2, whole.height // 2)).save(path, quality=90)
    print(f"{path}: a point, and what matches it, of {len(cases)} subjects")


def save(path: Path, columns: list[torch.Tensor]) -> None:
    """Pictures [B, 3, h, w] in 0..1, a column each, as one JPEG."""
    cells = [torch.nn.functional.interpolate(column.float(), (SIDE, SIDE), mode="nearest") for column in columns]
    whole = torch.cat([torch.cat(list(column), dim=1) for column in cells], dim=2)
    as_picture(whole.movedim(0, -1)).save(path, quality=90)
    print(f"{path}: {len(columns)} columns of {len(columns[0])} subjects")
