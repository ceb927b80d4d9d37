"""The measurement itself: libraries of pictures of one subject, the nearest to a prompt, and what comes of them as references."""

from __future__ import annotations

from dataclasses import replace

import torch

from ..nodes.joint import objective
from ..nodes.metrics import choosing
from ..nodes.training import loop as training
from . import judge as judges
from . import measure, train_denoiser, world
from .evaluate import BATCH, HELD_OUT, Setting
from .held_out import DISTRACTORS, HeldOut

LIBRARY = 50_000_000
"""Seed of the libraries' poses and scenes."""
TIMESTEPS, DRAWS = (500, 700, 900), 2
"""Noise levels at which a picture is looked at, and how often at each."""
CHOICES = ("nearest", "at random", "in the prompt's scene")
"""The last one is what the best of retrievals would choose: it reads the captions."""
FIGURES = ("top1", "similarity", "masked_similarity", "scene_accuracy")


def library(number: int, count: int) -> tuple[torch.Tensor, torch.Tensor, list[int]]:
    """``count`` pictures of held-out subject ``number`` in any scene: pictures, masks, scenes."""
    shape, _ = world.take_turns(number)
    subject = world.draw_subjects(1 + DISTRACTORS, generator_of(HELD_OUT + number), shape)[[0] * count]
    generator = generator_of(LIBRARY + number)
    scenes = torch.randint(len(world.SCENES), (count,), generator=generator)
    pictures, masks = world.draw(subject, world.draw_poses(count, generator), scenes, generator)
    return pictures, masks, scenes.tolist()


def generator_of(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Reader:
    """How near pictures are to a text, by the demo's model of single pictures."""

    def __init__(self):
        sampler = measure.Sampler("single", 1)
        self.clip, self.vae = sampler.clip, sampler.vae
        self.unet = sampler.model.model.diffusion_model
        self.scale = sampler.model.get_model_object("latent_format").scale_factor
        self.schedule = objective.sd_alphas_cumprod().float()

    @torch.inference_mode()
    def likeness(self, pictures: torch.Tensor, text: str) -> torch.Tensor:
        """By how much ``text`` lowers the error of the noise in each picture [B, 3, H, W], as a share: [B]."""
        latents = self.vae.encode(pictures.movedim(1, -1)).float().cpu() * self.scale
        states = torch.cat([self.clip.encode_from_tokens(self.clip.tokenize(words)) for words in (text, "")])
        states = states.float().to(training.device())
        noise = torch.randn(DRAWS, *latents.shape[1:], generator=generator_of(0))
        errors = torch.zeros(2, len(latents))
        for step in TIMESTEPS:
            timestep = torch.full((len(latents),), step)
            for draw in noise:
                noisy = objective.add_noise(latents, draw.expand_as(latents), self.schedule[timestep])
                for kind in (0, 1):
                    rows = torch.full((len(latents),), kind)
                    predicted = train_denoiser.denoise(self.unet, noisy, timestep, states, rows, 1)
                    errors[kind] += (predicted - draw).square().mean(dim=(1, 2, 3))
        return 1 - errors[0] / errors[1]


@torch.inference_mode()
def run(subjects: int, count: int, references: int, steps: int) -> dict:
    """Measure each of CHOICES; print and return their means, and the nearest's differences from those at random."""
    judge, reader, sampler = judges.load(), Reader(), measure.Sampler("joint", steps)
    setting, scores, hits = Setting(references=references), {name: [] for name in CHOICES}, []
    for first in range(0, subjects, BATCH):
        cases = [measure.held_out(number) for number in range(first, min(first + BATCH, subjects))]
        shown: dict[str, list[HeldOut]] = {name: [] for name in CHOICES}
        for number, case in enumerate(cases, first):
            pictures, masks, scenes = library(number, count)
            for name, rows in chosen(reader, case, pictures, scenes, references, number).items():
                captions = [world.caption(world.SHAPES.index(case.phrase), scenes[row]) for row in rows]
                shown[name].append(replace(case, views=pictures[rows], view_masks=masks[rows], captions=captions))
                if name == "nearest":
                    hits.append(sum(scenes[row] == case.scene for row in rows) / references)
        for name, given in shown.items():
            made = sampler.pictures(given, setting, HELD_OUT + first)
            for case, picture in zip(cases, made, strict=True):
                scores[name].append(measure.Scorer(judge, case)(picture[None]))
    print(
        f"{references} of {count} pictures of each of {subjects} subjects; the nearest show the scene asked for: {mean(hits):.1%}"
    )
    print(f"{'references':24}" + "".join(f"{name:>20}" for name in FIGURES))
    means = {name: {figure: mean([one[figure] for one in found]) for figure in FIGURES} for name, found in scores.items()}
    for name, figures in means.items():
        print(f"{name:24}" + "".join(f"{value:20.3f}" for value in figures.values()), flush=True)
    differences = {}
    for figure in FIGURES:
        pairs = zip(scores["nearest"], scores["at random"], strict=True)
        apart = torch.tensor([one[figure] - other[figure] for one, other in pairs])
        low, high = measure.bounds(apart, generator_of(0))
        differences[figure] = [apart.mean().item(), low, high]
        print(f"  nearest - at random, {figure}: {apart.mean():+.3f} [{low:+.3f}, {high:+.3f}]", flush=True)
    return {"subjects": subjects, "in_scene": mean(hits), "rows": means, "nearest_less_random": differences}


def chosen(
    reader: Reader, case: HeldOut, pictures: torch.Tensor, scenes: list[int], count: int, number: int
) -> dict[str, list[int]]:
    """Positions of the references that each of CHOICES takes."""
    near = reader.likeness(pictures, case.prompt)
    order = torch.randperm(len(pictures), generator=generator_of(LIBRARY + number + 500_000)).tolist()
    alike = torch.zeros(len(pictures), len(pictures))
    return {
        "nearest": choosing.nearest(near, alike, count, 0.0),
        "at random": order[:count],
        "in the prompt's scene": sorted(order, key=lambda row: scenes[row] != case.scene)[:count],
    }


def mean(values: list[float]) -> float:
    return sum(values) / len(values)
