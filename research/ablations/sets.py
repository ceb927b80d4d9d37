"""What the arms are trained on: sets of pictures, each drawn from its own number, as many as an arm may see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from .. import image_encoder, train_denoiser, world
from .arms import Arm

FIRST_SEED = 1_000_000
"""Seed of set 0; far from those of held-out subjects."""
VIEWS = train_denoiser.VIEWS
MOVED = 0.3
"""In a clip, how far a toy moves between frames, as a share of the way to any other pose."""
Encode = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, eq=False)
class Drawn:
    """A set. pictures: [VIEWS, 3, H, W] in 0..1. masks: of its toy, [VIEWS, 1, H, W]. captions: numbers [VIEWS]."""

    pictures: torch.Tensor
    masks: torch.Tensor
    captions: torch.Tensor


def draw(number: int, clip: bool, spread: float) -> Drawn:
    """Set ``number``, alike whenever it is drawn. spread: how far apart its poses are, 0..1, as in `train_denoiser.Latents`."""
    generator = torch.Generator().manual_seed(FIRST_SEED + number)
    subject = world.draw_subjects(1, generator)[[0] * VIEWS]
    anchor, others = world.draw_poses(1, generator)[[0] * VIEWS], world.draw_poses(VIEWS, generator)
    poses = anchor.towards(others, MOVED if clip else spread)
    if clip:
        scenes = torch.randint(len(world.SCENES), (1,), generator=generator).expand(VIEWS)
        behind = world.draw_scenes(scenes[:1], generator).expand(VIEWS, -1, -1, -1)
        pictures, masks = world.paint(behind, subject, poses)
    else:
        scenes = torch.randint(len(world.SCENES), (VIEWS,), generator=generator)
        pictures, masks = world.draw(subject, poses, scenes, generator)
    return Drawn(pictures, masks, train_denoiser.caption_number(subject.shape, scenes))


@dataclass(frozen=True, eq=False)
class Sample:
    """Sets of one size. latents: scaled, [B, 4, h, w]. captions: numbers [B]. embeddings: of cut-outs, [B, E], or None."""

    latents: torch.Tensor
    captions: torch.Tensor
    embeddings: torch.Tensor | None


class Pool:
    """The newest sets, as latents: where an arm may see any number of sets, each is met a few times and goes.

    Which sets are in it, and with which spread each was drawn, follows from the step alone, so that a run that goes on has them
    again. spread: of a step. encode: scaled latents of pictures. embed: embeddings of cut-outs, or None.
    """

    def __init__(
        self, arm: Arm, encode: Encode, embed: Encode | None, spread: Callable[[int], float], kept: int = 1024, fresh: int = 2
    ):
        self.arm, self.encode, self.embed, self.spread, self.fresh = arm, encode, embed, spread, fresh
        self.kept = min(kept, arm.sets or kept)
        side = world.SIZE // 4
        self.latents = torch.zeros(self.kept, VIEWS, 4, side, side)
        self.captions = torch.zeros(self.kept, VIEWS, dtype=torch.long)
        width = image_encoder.CONFIG["projection_dim"]
        self.embeddings = None if embed is None else torch.zeros(self.kept, VIEWS, width)

    def fill(self, step: int) -> None:
        """Draw what is in it before ``step``."""
        turns = range(self.fresh * step, self.fresh * step + self.kept)
        for first in range(0, self.kept, 8):
            self._put(turns[first : first + 8])

    def renew(self, step: int) -> None:
        """Draw what ``step`` brings, over the oldest sets."""
        first = self.kept + self.fresh * step
        self._put(range(first, first + self.fresh))

    def _put(self, turns: range) -> None:
        """Draw the sets of some ``turns``; the first ones, as many as are kept, are there before the first step."""
        drawn = []
        for turn in turns:
            number = turn % self.arm.sets if self.arm.sets else turn
            clip = self.arm.clips == 1 or (self.arm.clips > 0 and number % round(1 / self.arm.clips) == 0)
            drawn.append(draw(number, clip, self.spread(max(0, turn - self.kept) // self.fresh)))
        places = torch.tensor(turns) % self.kept
        pictures = torch.cat([one.pictures for one in drawn])
        self.latents[places] = self.encode(pictures).unflatten(0, (-1, VIEWS))
        self.captions[places] = torch.stack([one.captions for one in drawn])
        if self.embeddings is not None:
            shown = image_encoder.prepared(pictures, torch.cat([one.masks for one in drawn]))
            self.embeddings[places] = self.embed(shown).unflatten(0, (-1, VIEWS))

    def sample(self, sets: int, pictures: int, generator: torch.Generator) -> Sample:
        """Random sets of ``pictures`` pictures."""
        rows = torch.randint(self.kept, (sets,), generator=generator)[:, None]
        views = torch.rand(sets, VIEWS, generator=generator).argsort(dim=1)[:, :pictures]
        embeddings = None if self.embeddings is None else self.embeddings[rows, views].flatten(0, 1)
        return Sample(self.latents[rows, views].flatten(0, 1), self.captions[rows, views].flatten(), embeddings)
