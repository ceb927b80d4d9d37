"""Train the finder of the demo's toys: the stand-in for Grounding DINO and for face analysis in the demo of scenes.

It starts from other random numbers than the judges and is not one of them: what it says is never a figure.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F

from ..nodes.concepts.places import box_of
from ..nodes.demo.toys import FEATURES, LOUDNESS, Finder, around
from ..nodes.training import loop as training
from . import judge, world

SEED = 5
LOOKS = 6 + len(world.PATTERNS) + len(world.OUTLINES) + len(world.EYES)
"""Both colours, then a logit for each pattern, outline and kind of eyes."""


def loss(
    finder: Finder,
    reader: torch.nn.Linear,
    generator: torch.Generator,
    toys: int = 48,
    pairs: int = 16,
    temperature: float = 0.07,
):
    """Two views of each toy, half of them of one shape, and pictures of two: contrastive loss, mask and shape cross-entropies.

    reader: tells a toy's looks from its embedding [FEATURES] to [LOOKS], so that they can be read off it as easily by others.
    """
    shape = int(torch.randint(len(world.SHAPES), (1,), generator=generator))
    drawn = world.draw_subjects(toys, generator)
    drawn.shape[::2] = shape
    (first, first_mask, _), (second, second_mask, _) = (judge.views(drawn, generator) for _ in range(2))
    left, right = (world.draw_subjects(pairs, generator) for _ in range(2))
    scenes = torch.randint(len(world.SCENES), (pairs,), generator=generator)
    wide, wide_mask = world.draw_pairs(left, right, scenes, generator)
    device = training.device()
    first, second, wide = (judge.worn(picture, generator).to(device) for picture in (first, second, wide))
    picture, mask = torch.cat((first, second)), torch.cat((first_mask, second_mask)).to(device)
    shown = ((picture, mask), (wide, wide_mask.amax(dim=1, keepdim=True).to(device)))
    pixels = sum(F.binary_cross_entropy_with_logits(finder.segmenter(one).float(), masks) for one, masks in shown)
    square = squares(picture, mask, torch.randint(-2, 3, (2 * toys, 4), generator=generator))
    embedding = finder.embed(*square).float()
    told = read_off(reader(embedding).float(), drawn)
    a, b = (embedding / LOUDNESS).split(toys)
    logits, same = a @ b.T / temperature, torch.arange(toys, device=device)
    contrast = (F.cross_entropy(logits, same) + F.cross_entropy(logits.T, same)) / 2
    shapes = F.cross_entropy(finder.shapes(*square).float(), drawn.shape.repeat(2).to(device))
    top1 = (logits.argmax(dim=1) == same).float().mean().item()
    figures = {"contrast": contrast.item(), "top1": top1, "pixels": pixels.item(), "shapes": shapes.item(), "told": told.item()}
    return contrast + pixels + shapes + told, figures


def read_off(looks: torch.Tensor, drawn: world.Subjects) -> torch.Tensor:
    """How far what was told of two views of each toy, [2 B, LOOKS], is from its looks."""
    colours, *kinds = looks.split((6, len(world.PATTERNS), len(world.OUTLINES), len(world.EYES)), dim=1)
    wanted = torch.cat((drawn.first, drawn.second), dim=1).repeat(2, 1).to(colours)
    answers = (answer.repeat(2).to(colours.device) for answer in (drawn.pattern, drawn.outline, drawn.eyes))
    return (
        10 * F.mse_loss(colours, wanted)
        + sum(F.cross_entropy(kind, answer) for kind, answer in zip(kinds, answers, strict=True)) / 3
    )


def squares(picture: torch.Tensor, mask: torch.Tensor, off: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures and solid masks as `Finder.toys` sees them, the toy in the middle. off: moves of the boxes in pixels [B, 4]."""
    rows = []
    for number, (one, cover) in enumerate(zip(picture, mask > 0.5, strict=True)):
        box = torch.tensor(box_of(cover[0]).corners) + (0 if off is None else off[number])
        rows.append(torch.cat((around(one[None], box), around(cover[None].float(), box)), dim=1))
    return torch.cat(rows)[:, :3], torch.cat(rows)[:, 3:]


def train(folder: str, steps: int, rate: float, seed: int = 0) -> None:
    """Train for ``steps``; state in ``<folder>/finder.pt``; resumable."""
    torch.manual_seed(SEED + seed)
    finder, reader = Finder(), torch.nn.Linear(FEATURES, LOOKS)
    loop = training.Loop(folder, "finder", {"finder": finder, "reader": reader}, rate, steps, SEED + seed)
    for _ in loop:
        with training.mixed_precision():
            value, figures = loss(finder, reader, loop.generator)
        loop.learn(value, figures)


def load(folder: str) -> Finder:
    finder = Finder()
    finder.load_state_dict(torch.load(Path(folder) / "finder.pt", map_location="cpu", weights_only=True)["average"]["finder"])
    return finder.eval().requires_grad_(False).to(training.device())
