"""How often a click on a toy's eye finds that eye in the other pictures of its set, next to chance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import comfy.sample
import torch
import torch.nn.functional as F

from ..nodes.demo.host import model as demo_model
from ..nodes.joint import correspondence, recording, settings
from ..nodes.joint.host import encoding, sets, viewing
from ..nodes.joint.layout import JointSet, Layout, draw_noise, key_of
from . import export, world

FIRST = 60_000_000
"""Seed of the first subject, far from those of training and of other evaluations."""
TOGETHER = 10
CFG = 3.0
EYE = 0.21
"""Radius of an eye's white in units of a toy's size, as `world.paint` draws it."""
EYES = {1: ((0.0, -0.08),), 2: ((-0.27, -0.08), (0.27, -0.08))}
"""Where eyes are in a toy's own frame, by their number."""
SIZES = (0.25, 0.27, 0.29, 0.31, 0.33)
"""Of toys whose eyes are looked for."""
CONTRAST = 0.5
"""Between an eye's white and its pupil, at least: in 200 drawn pictures it finds every eye and nothing else."""
MOST_EYES = 5
RESAMPLES = 10_000


@dataclass(frozen=True)
class Case:
    """A subject with eyes, two drawn pictures of it [2, 3, H, W] with poses and captions, and the prompt of a third."""

    subject: world.Subjects
    poses: world.Poses
    views: torch.Tensor
    captions: list[str]
    prompt: str


@dataclass
class Tally:
    """For each subject, the share of its eyes that was found, and the share that chance would find."""

    found: list[float] = field(default_factory=list)
    chance: list[float] = field(default_factory=list)

    def ratio(self) -> tuple[float, float, float]:
        """Found over chance, and 95 % bounds from resampled subjects."""
        found, chance = torch.tensor(self.found), torch.tensor(self.chance)
        picks = torch.randint(len(found), (RESAMPLES, len(found)), generator=torch.Generator().manual_seed(0))
        bounds = torch.quantile(found[picks].mean(dim=1) / chance[picks].mean(dim=1), torch.tensor([0.025, 0.975])).tolist()
        return (float(found.mean() / chance.mean()), *bounds)

    def describe(self) -> str:
        count, (ratio, low, high) = len(self.found), self.ratio()
        return (
            f"found {sum(self.found) / count:.3f}, chance {sum(self.chance) / count:.4f}: "
            f"{ratio:.1f} times as often [{low:.1f}, {high:.1f}], {count} subjects"
        )


def case(number: int) -> Case:
    """Held-out subject ``number``: shapes and scenes take turns, and toys without eyes are drawn again."""
    generator = torch.Generator().manual_seed(FIRST + number)
    shape, scene = world.take_turns(number)
    subject = world.draw_subjects(1, generator, shape)
    while not int(subject.eyes):
        subject = world.draw_subjects(1, generator, shape)
    elsewhere, poses = world.other_scenes(scene, 2, generator), world.draw_poses(2, generator)
    views, _ = world.draw(subject[[0, 0]], poses, elsewhere, generator)
    captions = [world.caption(shape, int(other)) for other in elsewhere]
    return Case(subject, poses, views, captions, world.caption(shape, scene))


def drawn_eyes(one: Case, view: int) -> list[tuple[float, float, float]]:
    """The eyes of a drawn view, as `eyes_in` gives them, the toy's left one first."""
    pose = one.poses[view : view + 1]
    return [(*place(pose, eye), EYE * float(pose.size)) for eye in EYES[int(one.subject.eyes)]]


def place(pose: world.Poses, eye: tuple[float, float]) -> tuple[float, float]:
    """Where a point of a toy's own frame is in its picture, as shares of width and height."""
    (x, y), cos, sin = pose.centre[0].tolist(), float(torch.cos(pose.angle)), float(torch.sin(pose.angle))
    u, v = eye
    return 0.5 + x + float(pose.size) * (cos * u - sin * v), 0.5 + y + float(pose.size) * (sin * u + cos * v)


def counting(eye: tuple[float, float, float], shape: tuple[int, int]) -> torch.Tensor:
    """Which cells of a picture have their middle on an eye, [h, w]."""
    x, y, radius = eye
    down, across = ((torch.arange(length) + 0.5) / length for length in shape)
    return torch.hypot(across[None] - x, down[:, None] - y) <= radius


class Viewer:
    """The demo model, recorded as the node Record Correspondence does by default."""

    def __init__(self, steps: int) -> None:
        self.model, self.clip, self.vae = demo_model.load(export.FILES["joint"])
        self.steps = steps

    @torch.inference_mode()
    def look(self, cases: list[Case], seed: int) -> tuple[recording.Taken, torch.Tensor]:
        """What was recorded of one set a case, and the generated pictures [S, 3, H, W]: row 0 of a set, then its references."""
        references = self.vae.encode(torch.cat([one.views for one in cases]).movedim(1, -1)).float().cpu()
        layout = Layout(len(cases), 1, 2)
        noise = draw_noise(seed, layout.sets, layout.references, tuple(references.shape[1:]))
        texts = [text for one in cases for text in (one.prompt, *one.captions)]
        joint_set = JointSet(layout, references, noise, key_of(layout, texts, references, noise))
        positive, negative = encoding.encode_texts(self.clip, texts, "", {})
        recorded = recording.Recording(("half", "quarter"), 0.5, 1.0, 512 * recording.MEBIBYTE)
        model = viewing.record(sets.apply(self.model, joint_set, settings.Settings()), recorded)
        latent = joint_set.latent()
        start = comfy.sample.prepare_noise(latent, seed, layout.noise_index)
        samples = comfy.sample.sample(
            model, start, self.steps, CFG, "dpmpp_2m", "karras", positive, negative, latent, seed=seed, disable_pbar=True
        )
        pictures = self.vae.decode(samples[layout.generated_rows]).movedim(-1, 1).clamp(0, 1).float().cpu()
        if recorded.taken is None:
            raise AssertionError("nothing was recorded")
        return recorded.taken, pictures


def measured(viewer: Viewer, count: int) -> Iterator[tuple[Tally, Tally]]:
    """Tallies in drawn pictures and in generated ones, growing with every few subjects."""
    drawn, made = Tally(), Tally()
    for first in range(0, count, TOGETHER):
        cases = [case(number) for number in range(first, min(count, first + TOGETHER))]
        taken, pictures = viewer.look(cases, seed=FIRST + first)
        for number, one in enumerate(cases):
            table = correspondence.table(taken, number)
            click(table, one, 2, drawn_eyes(one, 1), drawn)
            eyes = sorted(eyes_in(pictures[number]))
            if len(eyes) == len(drawn_eyes(one, 0)):
                click(table, one, 0, eyes, made)
        yield drawn, made


def click(table: correspondence.Table, one: Case, other: int, eyes: list[tuple[float, float, float]], tally: Tally) -> None:
    """Click each eye of the first reference; is the strongest match in picture ``other`` on the same one of its ``eyes``?"""
    found, chance = [], []
    for (x, y, _), eye in zip(drawn_eyes(one, 0), eyes, strict=True):
        wanted = counting(eye, table.shape)
        matches = table.matches(1, other, x, y)
        found.append(bool(matches) and bool(wanted.flatten()[correspondence.cell_of(*matches[0], table.shape)]))
        chance.append(float(wanted.float().mean()))
    tally.found.append(sum(found) / len(found))
    tally.chance.append(sum(chance) / len(chance))


def eyes_in(picture: torch.Tensor) -> list[tuple[float, float, float]]:
    """Eyes that can be seen in a picture [3, H, W]: x and y as shares, and the radius as a share of the height.

    A dark pupil in a white ring, of the sizes that `world.paint` draws; every channel of the ring is bright, none of the pupil.
    """
    height, width = picture.shape[1:]
    seen, radii = [], [EYE * size for size in SIZES]
    for radius in radii:
        ring, pupil = _kernels(radius * height)
        bright = F.conv2d(picture.amin(dim=0)[None, None], ring, padding="same")
        seen.append((bright - F.conv2d(picture.amax(dim=0)[None, None], pupil, padding="same"))[0, 0])
    scores, found = torch.stack(seen), []
    while scores.max() > CONTRAST and len(found) < MOST_EYES:
        which, rest = divmod(int(scores.argmax()), height * width)
        down, across = divmod(rest, width)
        found.append(((across + 0.5) / width, (down + 0.5) / height, radii[which]))
        y, x = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
        scores[:, torch.hypot(x - across, y - down) <= 1.5 * radii[which] * height] = 0
    return found


def _kernels(radius: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The means over an eye's white ring and over its pupil, for `conv2d`. radius: of the eye in pixels."""
    reach = int(radius) + 1
    y, x = torch.meshgrid(*[torch.arange(-reach, reach + 1.0)] * 2, indexing="ij")
    away = torch.hypot(x, y) / radius
    ring, pupil = ((away > 0.62) & (away < 0.95)).float(), (away < 0.38).float()
    return (ring / ring.sum())[None, None], (pupil / pupil.sum())[None, None]


def run(count: int, steps: int) -> None:
    """Print how often eyes are found."""
    viewer = Viewer(steps)
    for drawn, made in measured(viewer, count):
        print(
            f"{len(drawn.found)} subjects: drawn {drawn.ratio()[0]:.1f}, generated {made.ratio()[0] if made.found else 0:.1f}",
            flush=True,
        )
    print(f"An eye of a reference, looked for in another reference: {drawn.describe()}")
    print(
        f"An eye of a reference, looked for in the generated picture: {made.describe()}, whose generated picture has as many eyes"
    )
