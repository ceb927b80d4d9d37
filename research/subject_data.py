"""What Subject-Diffusion is trained on: pictures with one subject or two and a cut-out of each, drawn or labelled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F

from ..nodes.subject import places, wording
from . import image_encoder, nets, train_denoiser, train_scenes, world
from .labels import shards

SLOTS = 2
"""Subjects that a picture has tokens for; those of absent ones are learned, too."""
SQUARE = 1.4
"""Width over height above which a labelled picture counts as wide."""
PLACEHOLDER = "sks"
PLACEHOLDER_TOKEN = 48136
Encode = Callable[[torch.Tensor], torch.Tensor]
"""Pictures [B, 3, H, W] in 0..1 to scaled latents [B, 4, h, w]."""
Look = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""Cut-outs as `image_encoder.prepared` gives them to embeddings [B, cls] and patch tokens [B, P, patch]."""


@dataclass(frozen=True, eq=False)
class Batch:
    """B pictures of K toys. latents: [B, 4, h, w]. texts: their numbers in `Texts`. cls: [B, K, cls]. patches: [B, K, P, patch].

    boxes: [B, K, 4] xyxy in shares. inside: of each toy, [B, K, h, w] in 0..1.
    """

    latents: torch.Tensor
    texts: torch.Tensor
    cls: torch.Tensor
    patches: torch.Tensor
    boxes: torch.Tensor
    inside: torch.Tensor

    def __getitem__(self, rows) -> Batch:
        return Batch(*(part[rows] for part in (self.latents, self.texts, self.cls, self.patches, self.boxes, self.inside)))


class Texts:
    """Texts with subjects as tokens [texts + 1, 77], the empty one last, and where placeholders stand, [texts + 1, SLOTS], or -1.

    texts: with the classes of the subjects of each.
    """

    def __init__(self, texts: Sequence[tuple[str, Sequence[str]]]):
        self.tokens = train_denoiser.tokens_of([wording.worded(text, named, PLACEHOLDER).text for text, named in texts])
        self.places = torch.full((len(self.tokens), SLOTS), -1)
        for row, marked in enumerate(self.tokens == PLACEHOLDER_TOKEN):
            for subject, place in enumerate(marked.nonzero().flatten().tolist()):
                self.places[row, subject] = place

    @classmethod
    def of_the_world(cls) -> Texts:
        """Every caption of one toy and of two, these once more with their subjects turned round, TURNED later."""
        names = world.SHAPES
        captions = train_scenes.all_captions()
        one = [(shape,) for shape in names for _ in world.SCENES]
        two = [(first, second) for first in names for second in names for _ in world.SCENES]
        subjects = [*one, *two]
        turned = [(second, first) for first, second in two]
        every = [*zip(captions, subjects, strict=True), *zip(captions[len(one) :], turned, strict=True)]
        return cls(every)


TURNED = len(world.SHAPES) ** 2 * len(world.SCENES)


class Pool:
    """Pictures of ``toys`` toys (1 or 2) with a cut-out of each, renewed all the time.

    own: cut out of the picture itself, else of another view. encode: pictures to scaled latents. look: cut-outs to embeddings and
    patch tokens. wide: twice as wide as high.
    """

    def __init__(self, toys: int, own: bool, encode: Encode, look: Look, generator: torch.Generator, size: int, wide: bool):
        self.toys, self.own, self.encode, self.look = toys, own, encode, look
        self.generator, self.next, self.wide = generator, 0, wide
        high = world.SIZE // nets.FACTOR
        across, config = high * (2 if wide else 1), image_encoder.CONFIG
        self.kept = Batch(
            torch.zeros(size, 4, high, across),
            torch.zeros(size, dtype=torch.long),
            torch.zeros(size, toys, config["projection_dim"]),
            torch.zeros(size, toys, image_encoder.PATCHES, config["hidden_size"], dtype=torch.bfloat16),
            torch.zeros(size, toys, 4),
            torch.zeros(size, toys, high, across),
        )

    @torch.no_grad()
    def renew(self, count: int) -> None:
        """Draw ``count`` new pictures over the oldest ones."""
        generator = self.generator
        scenes = torch.randint(len(world.SCENES), (count,), generator=generator)
        toys = [world.draw_subjects(count, generator) for _ in range(self.toys)]
        if self.toys == 2:
            same = torch.rand(count, generator=generator) < 0.5
            toys[1].shape[same] = toys[0].shape[same]
            picture, masks = world.draw_pairs(*toys, scenes, generator, poses=world.draw_places)
            texts = train_scenes.pair_number(toys[0].shape, toys[1].shape, scenes)
        else:
            texts = train_denoiser.caption_number(toys[0].shape, scenes)
            poses = world.draw_places(count, generator)
            if self.wide:
                poses.centre[:, 0] += torch.where(torch.rand(count, generator=generator) < 0.5, 0.5, -0.5)
            picture, masks = world.paint(
                world.draw_scenes(scenes, generator, width=world.SIZE * (2 if self.wide else 1)), toys[0], poses
            )
        cls, patches = self._encoded(picture, masks, toys)
        boxes = torch.tensor([[places.box_of(mask > 0.5) for mask in one] for one in masks])
        inside = F.avg_pool2d((masks > 0.5).float(), nets.FACTOR)
        if self.toys == 2:
            turned = torch.rand(count, generator=generator) < 0.5
            texts = texts + turned * TURNED
            order = torch.where(turned[:, None], torch.tensor([1, 0]), torch.tensor([0, 1]))
            row = torch.arange(count)[:, None]
            cls, patches, boxes, inside = (part[row, order] for part in (cls, patches, boxes, inside))
        rows, kept = (torch.arange(count) + self.next) % len(self.kept.texts), self.kept
        made = Batch(self.encode(picture), texts, cls, patches, boxes, inside)
        for name, value in vars(made).items():
            getattr(kept, name)[rows] = value.to(getattr(kept, name))
        self.next = int(self.next + count) % len(kept.texts)

    def _encoded(
        self, picture: torch.Tensor, masks: torch.Tensor, toys: list[world.Subjects]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeddings [B, K, cls] and patch tokens [B, K, P, patch] of the toys' cut-outs."""
        if self.own:
            shown = [image_encoder.prepared(picture, masks[:, number, None]) for number in range(self.toys)]
        else:
            shown = [image_encoder.views(one, self.generator) for one in toys]
        cls, patches = (torch.stack(parts, dim=1) for parts in zip(*map(self.look, shown), strict=True))
        return cls, patches

    def fill(self) -> None:
        for _ in range(0, len(self.kept.texts), 32):
            self.renew(32)

    def sample(self, rows: int) -> Batch:
        return self.kept[torch.randint(len(self.kept.texts), (rows,), generator=self.generator)]


class Labelled:
    """Labelled pictures with ``toys`` subjects each (1 or 2), all that there are; the subjects are cut out of the picture itself.

    rows: (number of its text, example) of each. encode, look, wide: as of `Pool`.
    """

    def __init__(self, toys: int, rows: Sequence[tuple[int, shards.Example]], encode: Encode, look: Look, generator, wide: bool):
        self.generator, self.wide, made = generator, wide, []
        size = world.SIZE, world.SIZE * (2 if wide else 1)
        for number, one in rows:
            picture = F.interpolate(one.picture[None].float(), size, mode="bilinear", antialias=True).clamp(0, 1)
            masks = torch.stack([entity.mask.float() for entity in one.entities[:toys]])
            shown = [image_encoder.prepared(one.picture[None].float(), mask[None, None]) for mask in masks]
            cls, patches = (torch.stack(parts, dim=1) for parts in zip(*map(look, shown), strict=True))
            boxes = torch.tensor([[entity.box for entity in one.entities[:toys]]])
            inside = F.adaptive_avg_pool2d(masks[None], [side // nets.FACTOR for side in size])
            made.append((encode(picture), torch.tensor([number]), cls, patches.bfloat16(), boxes, inside))
        self.kept = Batch(*(torch.cat(parts) for parts in zip(*made, strict=True)))

    def renew(self, count: int) -> None:
        """There are no others."""

    def sample(self, rows: int) -> Batch:
        return self.kept[torch.randint(len(self.kept.texts), (rows,), generator=self.generator)]


def labelled(folder: Path, encode: Encode, look: Look, generator: torch.Generator) -> tuple[Texts, list[Labelled], list[int]]:
    """The texts and pools of a folder of labelled pictures (`research/label.py`), and how many pictures each pool has.

    Pictures with more than SLOTS subjects keep those of the highest scores; their shape becomes the nearer of square and wide.
    Raises ValueError where the folder has none, or where a caption cannot be worded with its classes.
    """
    groups: dict[tuple[int, bool], list[tuple[int, shards.Example]]] = {}
    for number, example in enumerate(_usable(folder)):
        height, width = example.picture.shape[1:]
        groups.setdefault((len(example.entities), width > SQUARE * height), []).append((number, example))
    made = [Labelled(toys, rows, encode, look, generator, wide) for (toys, wide), rows in sorted(groups.items())]
    return Texts(captions(folder)), made, [len(rows) for _, rows in sorted(groups.items())]


def captions(folder: Path) -> list[tuple[str, list[str]]]:
    """Of a folder of labelled pictures, each one's caption and the classes of its subjects."""
    return [(one.caption, [entity.name for entity in one.entities]) for one in _usable(folder)]


def _usable(folder: Path) -> Iterator[shards.Example]:
    found = 0
    for example in shards.examples(folder):
        best = sorted(example.entities, key=lambda entity: -entity.score)[:SLOTS]
        if best:
            found += 1
            yield replace(example, entities=tuple(best))
    if not found:
        raise ValueError(f"{folder} holds no picture with a labelled subject. Label some that show one, by research/label.py.")
