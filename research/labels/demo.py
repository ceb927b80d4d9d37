"""The demo world labelled, whose truth is known: how many labels are right, and how many toys have one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from ...nodes.data.pictures import as_picture
from .. import world
from . import shards

HELD_OUT = 60_000_000
"""Seed of the first picture."""
ABSENT = 5
"""The caption of every fifth picture names a toy more than it shows."""
RIGHT = 0.5
"""Least intersection over union of a label's mask and of its box with the toy's."""


@dataclass(frozen=True, eq=False)
class Toy:
    """A toy that was drawn. mask: [H, W], bool."""

    shape: str
    mask: torch.Tensor


@dataclass(frozen=True)
class Score:
    """Of one shape. labels, right: made, and right ones among them, at most one a toy. drawn: toys.

    overlap: mean intersection over union of right masks.
    """

    labels: int = 0
    right: int = 0
    drawn: int = 0
    overlap: float = 0.0

    @property
    def precision(self) -> float | None:
        return self.right / self.labels if self.labels else None

    @property
    def recall(self) -> float | None:
        return self.right / self.drawn if self.drawn else None


def draw(folder: Path, count: int) -> dict[str, list[Toy]]:
    """Write pictures with captions beside them, of one toy and of two in turn; returns the truth by the file's name."""
    truth = {}
    for number in range(count):
        generator = torch.Generator().manual_seed(HELD_OUT + number)
        shape, scene = world.take_turns(number // 2)
        other = int(torch.randint(len(world.SHAPES), (1,), generator=generator))
        where = torch.tensor([scene])
        first = world.draw_subjects(1, generator, shape)
        if number % 2:
            second = world.draw_subjects(1, generator, other)
            picture, masks = world.draw_pairs(first, second, where, generator)
            shown, caption = [shape, other], world.pair_caption(shape, other, scene)
        else:
            picture, masks = world.draw(first, world.draw_poses(1, generator), where, generator)
            shown, caption = [shape], world.caption(shape, scene)
        if number % ABSENT == 0:
            absent = next(kind for kind in range(len(world.SHAPES)) if kind not in shown)
            caption += f" with a {world.SHAPES[absent]}"
        name = f"{number:06d}.png"
        as_picture(picture[0].movedim(0, -1)).save(folder / name)
        (folder / name).with_suffix(".txt").write_text(caption, encoding="utf-8")
        truth[name] = [Toy(world.SHAPES[kind], mask > 0.5) for kind, mask in zip(shown, masks[0], strict=True)]
    return truth


def scored(examples: Iterable[shards.Example], truth: dict[str, list[Toy]]) -> dict[str, Score]:
    """For each shape how its labels agree with the truth. A label is right where class, box and mask are those of one toy."""
    labels, right, overlap = Counter[str](), Counter[str](), Counter[str]()
    found = set()
    for example in examples:
        for entity in example.entities:
            labels[entity.name] += 1
            best, toy = max(
                ((_overlap(entity.mask, toy.mask), number) for number, toy in enumerate(truth[example.source])), default=(0, 0)
            )
            drawn = truth[example.source][toy]
            height, width = drawn.mask.shape
            boxes = _overlap(_filled(entity.box, height, width), _around(drawn.mask))
            if entity.name == drawn.shape and best >= RIGHT and boxes >= RIGHT and (example.source, toy) not in found:
                found.add((example.source, toy))
                right[entity.name] += 1
                overlap[entity.name] += best
    drawn_toys = Counter(toy.shape for toys in truth.values() for toy in toys)
    return {
        shape: Score(labels[shape], right[shape], drawn_toys[shape], overlap[shape] / max(1, right[shape]))
        for shape in sorted({*drawn_toys, *labels}, key=lambda name: (name not in world.SHAPES, name))
    }


def _overlap(one: torch.Tensor, other: torch.Tensor) -> float:
    union = (one | other).sum().item()
    return (one & other).sum().item() / union if union else 0.0


def _filled(box: tuple[float, float, float, float], height: int, width: int) -> torch.Tensor:
    """The pixels of a box in shares."""
    left, top, right, bottom = box
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[round(top * height) : round(bottom * height), round(left * width) : round(right * width)] = True
    return mask


def _around(mask: torch.Tensor) -> torch.Tensor:
    """The pixels of the smallest box around a mask."""
    return mask.any(dim=1)[:, None] & mask.any(dim=0)[None]


def together(scores: dict[str, Score]) -> Score:
    """All shapes as one."""
    counts = [sum(getattr(score, name) for score in scores.values()) for name in ("labels", "right", "drawn")]
    overlap = sum(score.overlap * score.right for score in scores.values()) / max(1, counts[1])
    return Score(*counts, overlap)


def table(columns: dict[str, dict[str, Score]]) -> str:
    """Precision, recall and mean overlap of masks for each shape and for all, side by side for each way of labelling."""
    lines = [f"{'':<8}" + "".join(f"{name:^34}" for name in columns)]
    lines.append(f"{'shape':<8}" + f"{'labels':>8}{'precision':>10}{'recall':>8}{'IoU':>8}" * len(columns))
    shapes = list(dict.fromkeys(shape for scores in columns.values() for shape in scores))
    for shape in (*shapes, "all"):
        cells = []
        for scores in columns.values():
            score = together(scores) if shape == "all" else scores.get(shape, Score())
            cells.append(f"{score.labels:>8}{_percent(score.precision):>10}{_percent(score.recall):>8}")
            cells.append(f"{score.overlap:>8.3f}" if score.right else f"{'-':>8}")
        lines.append(f"{shape:<8}" + "".join(cells))
    return "\n".join(lines)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
