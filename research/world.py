"""The demo world: unlimited procedurally drawn subjects, shown in captioned scenes.

A subject is a toy: one of four shapes, two colours, a pattern, an outline and eyes. A caption names
the shape and the scene and nothing else, so whoever shows the right colours, pattern and eyes has
looked at a reference picture. Everything is drawn in torch from signed distances, one batch at a time,
and every picture comes with the exact mask of its subject.

Axis legend: B pictures, H W pixels. Colours are RGB in 0..1. Lengths are fractions of the picture's
height, x to the right and y down, the origin in the middle (so a square picture spans -0.5..0.5).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch

from ..nodes.demo.toys import SHAPES
from ..nodes.demo.toys import SIDE as SIZE

SCENES = ("on the beach", "in the snow", "at night", "in a meadow", "in the desert", "under the sea")
PATTERNS = ("stripes", "dots", "halves", "core")
OUTLINES = ((0.10, 0.08, 0.12), (0.98, 0.98, 0.96))
EYES = (0, 1, 2)


@dataclass(frozen=True)
class Subjects:
    """B subjects. Integer fields [B] index the tuples above; colours are [B, 3]."""

    shape: torch.Tensor
    pattern: torch.Tensor
    outline: torch.Tensor
    eyes: torch.Tensor
    first: torch.Tensor
    second: torch.Tensor

    def __len__(self) -> int:
        return self.shape.shape[0]

    def __getitem__(self, rows) -> Subjects:
        return Subjects(*(getattr(self, field.name)[rows] for field in fields(self)))


@dataclass(frozen=True)
class Poses:
    """B poses: centre [B, 2], size (half the subject's extent) [B], angle in radians [B]."""

    centre: torch.Tensor
    size: torch.Tensor
    angle: torch.Tensor

    def towards(self, other: Poses, amount: float) -> Poses:
        """These poses moved to ``other`` by ``amount`` in 0..1 (0: unchanged)."""
        return Poses(*(torch.lerp(getattr(self, f.name), getattr(other, f.name), amount) for f in fields(self)))

    def __getitem__(self, rows) -> Poses:
        return Poses(*(getattr(self, field.name)[rows] for field in fields(self)))


def _uniform(generator: torch.Generator, low: float, high: float, *shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=generator) * (high - low) + low


def _hsv(hue: torch.Tensor, saturation: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """HSV in 0..1, each [B], to RGB [B, 3]."""
    offsets = torch.tensor([5.0, 3.0, 1.0])
    k = (offsets + 6 * hue[:, None]) % 6
    return value[:, None] * (1 - saturation[:, None] * torch.minimum(k, 4 - k).clamp(0, 1))


def draw_subjects(count: int, generator: torch.Generator, shape: int | None = None) -> Subjects:
    """``count`` random subjects; all of one ``shape`` (an index into SHAPES) if given."""

    def pick(options) -> torch.Tensor:
        return torch.randint(len(options), (count,), generator=generator)

    hue = _uniform(generator, 0, 1, count)
    turn = _uniform(generator, 0.2, 0.8, count)
    first = _hsv(hue, _uniform(generator, 0.7, 1.0, count), _uniform(generator, 0.75, 1.0, count))
    second = _hsv((hue + turn) % 1, _uniform(generator, 0.7, 1.0, count), _uniform(generator, 0.75, 1.0, count))
    plain = torch.rand(count, generator=generator)
    second[plain < 0.15] = torch.tensor([0.97, 0.96, 0.94])
    second[plain > 0.90] = torch.tensor([0.13, 0.13, 0.16])
    shapes = pick(SHAPES) if shape is None else torch.full((count,), shape)
    return Subjects(shapes, pick(PATTERNS), pick(OUTLINES), pick(EYES), first, second)


def draw_poses(count: int, generator: torch.Generator) -> Poses:
    """``count`` random poses: off-centre by up to 0.13, size 0.25 to 0.33, turned by up to 26 degrees."""
    return Poses(
        _uniform(generator, -0.13, 0.13, count, 2),
        _uniform(generator, 0.25, 0.33, count),
        _uniform(generator, -0.45, 0.45, count),
    )


REACH = 1.15
"""How far a toy and its outline reach from its middle, as a multiple of its size."""


def draw_places(count: int, generator: torch.Generator) -> Poses:
    """``count`` random poses anywhere in a square: size 0.22 to 0.33, turned by up to 26 degrees, whole."""
    size = _uniform(generator, 0.22, 0.33, count)
    centre = _uniform(generator, -1, 1, count, 2) * (0.5 - REACH * size)[:, None]
    return Poses(centre, size, _uniform(generator, -0.45, 0.45, count))


def take_turns(number: int) -> tuple[int, int]:
    """Shape and scene of held-out case ``number``: each shape in one scene, then in the next."""
    return number % len(SHAPES), number // len(SHAPES) % len(SCENES)


def other_scenes(scene: int, count: int, generator: torch.Generator) -> torch.Tensor:
    """``count`` random scenes [B] that are not ``scene``."""
    others = torch.randint(len(SCENES) - 1, (count,), generator=generator)
    return others + (others >= scene).long()


def caption(shape: int, scene: int) -> str:
    """What a caption says of a picture: shape and scene."""
    return f"a photo of a {SHAPES[shape]} {SCENES[scene]}"


def pair_caption(first: int, second: int, scene: int) -> str:
    """What a caption says of a picture with two toys, left and right."""
    return f"a photo of a {SHAPES[first]} and a {SHAPES[second]} {SCENES[scene]}"


def _grid(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    across, down = ((torch.arange(side) + 0.5 - side / 2) / height for side in (width, height))
    y, x = torch.meshgrid(down, across, indexing="ij")
    return x[None], y[None]


def _distance(shape: torch.Tensor, u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Signed distance [B, H, W] (negative inside) to each row's shape, in units of the subject's size."""
    radius = torch.sqrt(u * u + v * v)
    angle = torch.atan2(u, -v)
    ball = radius - 0.92
    box = torch.maximum(u.abs() - 0.78, v.abs() - 0.78)
    box = torch.where((u.abs() > 0.6) & (v.abs() > 0.6), torch.hypot(u.abs() - 0.6, v.abs() - 0.6) - 0.18, box)
    fold = torch.remainder(angle + torch.pi / 5, 2 * torch.pi / 5) - torch.pi / 5
    a, b = radius * torch.sin(fold.abs()), radius * torch.cos(fold)
    # One edge of a five-pointed star, from the tip (0, 1.08) to the notch at 36 degrees.
    tip, notch = (0.0, 1.08), (0.56 * 0.5878, 0.56 * 0.8090)
    ex, ey = notch[0] - tip[0], notch[1] - tip[1]
    star = ((b - tip[1]) * ex - (a - tip[0]) * ey) / (ex * ex + ey * ey) ** 0.5
    # A square on its corner and a disc on each of its upper sides.
    hu, hv, half = u.abs(), 0.08 - v, 0.74
    heart = torch.minimum((hu + hv.abs() - half) / 2**0.5, torch.hypot(hu - half / 2, hv - half / 2) - half / 2**0.5)
    stack = torch.stack(torch.broadcast_tensors(ball, star, box, heart))
    return stack[shape, torch.arange(shape.shape[0])]


def _cover(distance: torch.Tensor, softness: float | torch.Tensor) -> torch.Tensor:
    """Anti-aliased coverage 0..1 of the inside of ``distance``."""
    return (0.5 - distance / softness).clamp(0, 1)


def _from_dots(x: torch.Tensor, y: torch.Tensor, across: float, down: float) -> torch.Tensor:
    """Distance [B, H, W] to the nearest of dots that repeat every ``across`` and ``down``."""
    return torch.hypot(torch.remainder(x, across) - across / 2, torch.remainder(y, down) - down / 2)


def _pattern(pattern: torch.Tensor, distance: torch.Tensor, u: torch.Tensor, v: torch.Tensor, soft) -> torch.Tensor:
    """Where the second colour shows, 0..1 [B, H, W]; the frame turns with the subject."""
    stripes = _cover(torch.remainder(v + 0.2, 0.8).sub(0.4).abs() - 0.2, soft)
    dots = _cover(_from_dots(u + 0.35, v + 0.35, 0.7, 0.7) - 0.21, soft)
    halves = _cover(u, soft)
    core = _cover(distance + 0.32, soft)
    return torch.stack((stripes, dots, halves, core))[pattern, torch.arange(pattern.shape[0])]


def _paint(picture: torch.Tensor, colour: torch.Tensor, cover: torch.Tensor) -> torch.Tensor:
    """Paint ``colour`` ([B, 3] or a triple) over ``picture`` [B, 3, H, W] where ``cover`` [B, H, W] is 1."""
    colour = torch.as_tensor(colour, dtype=picture.dtype).reshape(-1, 3, 1, 1)
    return torch.lerp(picture, colour.expand_as(picture), cover[:, None])


def draw_scenes(scene: torch.Tensor, generator: torch.Generator, size: int = SIZE, width: int | None = None) -> torch.Tensor:
    """Backgrounds [B, 3, H, W] for ``scene`` [B] (indices into SCENES), each a little different; square without ``width``."""
    count, soft, width = scene.shape[0], 1.5 / size, width or size
    x, y = _grid(size, width)
    x, y = x.expand(count, -1, -1), y.expand(count, -1, -1)
    horizon = _uniform(generator, 0.08, 0.24, count)[:, None, None]
    spot = _uniform(generator, -0.38, 0.38, count)[:, None, None]
    phase = _uniform(generator, 0, 6.28, count)[:, None, None]
    ground = _cover(horizon - y, soft)
    hills = _cover(horizon - 0.10 + 0.05 * torch.sin(7 * x + phase) - y, soft)
    disc = _cover(torch.hypot(x - spot, y + 0.34) - 0.09, soft)
    trees = _cover((torch.remainder(x + spot, 0.2) - 0.1).abs() * 2.2 - (y - horizon + 0.2), soft)
    trees = trees * _cover(y - horizon, soft)
    stars = _cover(_from_dots(x + spot, y + 0.1 * spot, 0.3, 0.3) - 0.014, soft)
    flowers = _cover(_from_dots(x + spot, y - horizon - 0.02, 0.22, 0.2) - 0.03, soft)
    bubbles = _cover((_from_dots(x + spot, y + spot, 0.4, 0.4) - 0.06).abs() - 0.012, soft)

    def scenery(sky, *layers) -> torch.Tensor:
        picture = torch.tensor(sky).reshape(1, 3, 1, 1).expand(count, 3, size, width)
        for colour, cover in layers:
            picture = _paint(picture, colour, cover)
        return picture

    sea_level = _cover(horizon - 0.16 - y, soft)
    seabed = _cover(horizon + 0.12 - y, soft)
    dusk = 1.05 - 0.6 * (y[:, None] + 0.5)
    beach = scenery((0.62, 0.85, 0.97), ((0.16, 0.47, 0.80), sea_level), ((0.95, 0.85, 0.58), ground), ((1.0, 0.95, 0.55), disc))
    snow = scenery((0.74, 0.80, 0.88), ((0.20, 0.42, 0.36), trees), ((0.97, 0.98, 1.0), ground))
    night = scenery((0.07, 0.08, 0.24), ((0.95, 0.95, 0.75), stars), ((0.98, 0.93, 0.65), disc), ((0.13, 0.12, 0.16), ground))
    meadow = scenery((0.45, 0.74, 0.98), ((0.38, 0.72, 0.28), ground), ((0.98, 0.96, 0.9), flowers * ground))
    desert = scenery((0.98, 0.66, 0.38), ((0.85, 0.22, 0.15), disc), ((0.80, 0.50, 0.28), hills), ((0.90, 0.62, 0.36), ground))
    water = scenery((0.10, 0.52, 0.60)) * dusk
    sea = _paint(_paint(water, (0.75, 0.95, 0.95), bubbles), (0.55, 0.50, 0.38), seabed)
    return torch.stack((beach, snow, night, meadow, desert, sea))[scene, torch.arange(count)]


def draw(
    subjects: Subjects, poses: Poses, scene: torch.Tensor, generator: torch.Generator, size: int = SIZE
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw each subject in its pose and scene.

    Returns pictures [B, 3, H, W] in 0..1 and subject masks [B, 1, H, W] in 0..1.
    """
    return paint(draw_scenes(scene, generator, size), subjects, poses)


def draw_pairs(
    left: Subjects,
    right: Subjects,
    scene: torch.Tensor,
    generator: torch.Generator,
    size: int = SIZE,
    poses: Callable[[int, torch.Generator], Poses] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures of two toys side by side, [B, 3, H, 2 H], and their masks [B, 2, H, 2 H], the left one's first.

    poses: of each inside its half, `draw_places` or the like; by default those of `draw_poses`, so that they do not touch.
    """
    picture, masks = draw_scenes(scene, generator, size, 2 * size), []
    for toys, side in ((left, -0.5), (right, 0.5)):
        pose = (poses or _apart)(len(toys), generator)
        picture, mask = paint(picture, toys, replace(pose, centre=pose.centre + torch.tensor([side, 0.0])))
        masks.append(mask)
    return picture, torch.cat(masks, dim=1)


def _apart(count: int, generator: torch.Generator) -> Poses:
    poses = draw_poses(count, generator)
    return replace(poses, centre=poses.centre * torch.tensor([0.6, 1.0]))


def paint(picture: torch.Tensor, subjects: Subjects, poses: Poses) -> tuple[torch.Tensor, torch.Tensor]:
    """Paint each subject in its pose over its picture [B, 3, H, W]. Returns the pictures and masks [B, 1, H, W]."""
    height, width = picture.shape[-2:]
    x, y = _grid(height, width)
    dx, dy = x - poses.centre[:, 0, None, None], y - poses.centre[:, 1, None, None]
    cos, sin = torch.cos(poses.angle)[:, None, None], torch.sin(poses.angle)[:, None, None]
    scale = poses.size[:, None, None]
    u, v = (cos * dx + sin * dy) / scale, (-sin * dx + cos * dy) / scale
    soft = 1.5 / height / scale
    distance = _distance(subjects.shape, u, v)
    mask = _cover(distance - 0.06, soft)
    picture = _paint(picture, torch.tensor(OUTLINES)[subjects.outline], mask)
    body = _cover(distance + 0.06, soft)
    picture = _paint(picture, subjects.first, body)
    picture = _paint(picture, subjects.second, body * _pattern(subjects.pattern, distance, u, v, soft))
    for eyes, places in ((1, (0.0,)), (2, (-0.27, 0.27))):
        shown = (subjects.eyes == eyes).float()[:, None, None]
        for place in places:
            away = torch.hypot(u - place, v + 0.08)
            picture = _paint(picture, (1.0, 1.0, 1.0), shown * _cover(away - 0.21, soft))
            picture = _paint(picture, (0.05, 0.05, 0.08), shown * _cover(away - 0.11, soft))
    return picture, mask[:, None]
