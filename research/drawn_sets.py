"""The demo world as sources of sets, beside those of `nodes/data`: kinds that commands pass to `open_source`."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path

import torch
from PIL import Image

from ..nodes.data.examples import PictureSet
from ..nodes.data.pictures import as_picture
from ..nodes.data.sources import Entry, Source
from . import world

SUBJECTS = 10_000
"""Of a source, where it is not said how many."""
PICTURES = 4
"""Of a set."""
FIRST = 70_000_000
"""Seed of the first subject; what is held out is drawn from other ones."""
PACE = 0.25
"""How far a toy moves in a clip, as a share of the way to another pose."""


class Drawn(Source):
    """Toys of the demo world, each in pictures of different scenes; given as `demo:` or, with a number of subjects, `demo:500`.

    clips: all pictures of a set share scene, background and caption, as frames of one clip do, and the toy moves a little.
    """

    def __init__(self, count: str = "", most: int | None = None, least_side: int = 0, clips: bool = False):
        self.kind = "demo-clips" if clips else "demo"
        if count and not (count.isdecimal() and int(count)):
            raise ValueError(f"Data: {self.kind}:{count} was given, but a number of subjects is needed, as in `demo:500`.")
        self.clips, self.count = clips, int(count or SUBJECTS)
        super().__init__(Path(str(self.count)), most, least_side)

    def parts(self) -> list[str]:
        return [str(self.count)]

    def entries(self, part: str) -> list[Entry]:
        return [Entry(f"{self.kind} {number + 1}", number) for number in range(self.count)]

    def read(self, entry: Entry, draw: random.Random | None = None) -> PictureSet:
        generator = torch.Generator().manual_seed(FIRST + entry.at)
        toy = world.draw_subjects(1, generator)
        scenes = torch.randperm(len(world.SCENES), generator=generator)[:PICTURES]
        poses = world.draw_poses(PICTURES, generator)
        if self.clips:
            scenes = scenes[:1].expand(PICTURES)
            start = poses[[0] * PICTURES]
            poses = start.towards(poses, PACE)
            backgrounds = world.draw_scenes(scenes[:1], generator).expand(PICTURES, -1, -1, -1)
        else:
            backgrounds = world.draw_scenes(scenes, generator)
        pictures, _ = world.paint(backgrounds, toy[[0] * PICTURES], poses)
        shape = int(toy.shape[0])
        given = [
            (f"{entry.name}, picture {number + 1}", world.caption(shape, int(scenes[number])), partial(shown, pictures[number]))
            for number in range(PICTURES)
        ]
        return self.gathered(entry.name, given, draw, {"subject": world.SHAPES[shape]})


def shown(picture: torch.Tensor) -> Image.Image:
    """A picture [3, H, W] in 0..1 as a file has it."""
    return as_picture(picture.movedim(0, -1))


KINDS = {"demo": Drawn, "demo-clips": partial(Drawn, clips=True)}
"""For `open_source`."""
