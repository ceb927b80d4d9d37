"""The evaluation itself: held-out subjects, pictures made through the nodes' code, scores and their order."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import comfy.sample
import torch
import torch.nn.functional as F

from ..nodes.demo.host import model as demo_model
from ..nodes.joint import settings as choices
from ..nodes.joint.host import encoding, sets, subject_masks
from ..nodes.joint.layout import JointSet, Layout, Named, draw_noise
from ..nodes.joint.sharing import INSIDE
from . import export, world
from . import judge as judges
from .evaluate import BATCH, HELD_OUT, LAMBDAS, SWEEP, Setting
from .held_out import HeldOut, draw

VIEWS = 3
"""Reference pictures drawn for each subject."""


def held_out(number: int) -> HeldOut:
    """Subject ``number`` of the held-out ones, its references of it alone."""
    return draw(HELD_OUT, number, [0] * VIEWS, world.caption)


class Sampler:
    """One demo model, and the nodes' way from subjects to generated pictures. model: a key of `export.FILES`, a file, or what was
    loaded: (MODEL, CLIP, VAE)."""

    def __init__(self, model: str | Path | tuple, steps: int):
        if not isinstance(model, tuple):
            model = demo_model.load(model if isinstance(model, Path) else export.FILES[model])
        self.model, self.clip, self.vae = model
        self.steps = steps

    def joint_set(self, subjects: list[HeldOut], setting: Setting, seed: int) -> JointSet:
        """One set a subject, with one picture to generate."""
        count = setting.references
        size = world.SIZE // self.vae.spacial_compression_encode()
        references = torch.zeros(0, 4, size, size)
        if count:
            views = [subject.views[:count] for subject in subjects]
            references = self.vae.encode(torch.cat(views).movedim(1, -1)).float().cpu()
        noise = draw_noise(seed, len(subjects), count, (4, size, size))
        masks = [subject.view_masks[:count] for subject in subjects]
        given = tuple(F.adaptive_avg_pool2d(torch.cat(masks).float(), size)[:, 0]) if setting.masks == choices.GIVEN else ()
        captions = tuple(text for subject in subjects for text in subject.captions[:count])
        named = Named(captions, ("",) * len(captions), self.clip)
        return JointSet(Layout(len(subjects), 1, count), references, noise, "", given, named=named)

    def pictures(self, subjects: list[HeldOut], setting: Setting, seed: int) -> torch.Tensor:
        """One generated picture a subject, [S, 3, H, W] in 0..1, all sets in one batch."""
        count, joint_set = setting.references, self.joint_set(subjects, setting, seed)
        positive, negative = self.texts(subjects, count)
        options = replace(
            sets.options_of(setting.recipe, self.model, joint_set),
            levels=frozenset(choices.LEVELS if setting.coupled else ()),
            null_references=choices.LITERAL if setting.literal else choices.ISOLATED,
            subject_masks=setting.masks,
            bank=setting.bank,
        )
        if setting.color_match is not None:
            options = replace(options, color_match=setting.color_match)
        wanted = choices.Settings(setting.mode, setting.image, options=options, strength=setting.strength)
        model = sets.apply(self.model, joint_set, wanted)
        layout = joint_set.layout
        return self.sampled(
            model, joint_set.latent(), layout.noise_index, positive, negative, setting, seed, layout.generated_rows
        )

    def texts(self, subjects: list[HeldOut], references: int) -> tuple[list, list]:
        """Conditioning of sets with one picture to generate each, and of nothing."""
        texts = [text for subject in subjects for text in (subject.prompt, *subject.captions[:references])]
        return encoding.encode_texts(self.clip, texts, "", {})

    def sampled(self, model, latent, noise_index, positive, negative, setting: Setting, seed: int, rows) -> torch.Tensor:
        """Pictures [len(rows), 3, H, W] in 0..1: ``rows`` of the batch that ``latent`` begins."""
        start = comfy.sample.prepare_noise(latent, seed, noise_index)
        samples = comfy.sample.sample(
            model, start, self.steps, setting.cfg, "dpmpp_2m", "karras", positive, negative, latent, seed=seed, disable_pbar=True
        )
        return self.vae.decode(samples[rows]).movedim(-1, 1).clamp(0, 1).float().cpu()

    def agreement(self, subjects: list[HeldOut], setting: Setting, seed: int) -> float:
        """Mean intersection over union of masks that the model finds and those drawn, on the latent grid."""
        joint_set = self.joint_set(subjects, setting, seed)
        found = torch.stack(subject_masks.find(self.model, joint_set, None)) > 0.5
        views = torch.cat([subject.view_masks[: setting.references] for subject in subjects]).float()
        drawn = F.adaptive_avg_pool2d(views, found.shape[-2:])[:, 0] > INSIDE
        return float(((found & drawn).sum((1, 2)) / (found | drawn).sum((1, 2))).mean())


class Scorer:
    """The judges' verdict on pictures of one subject; what belongs to the subject alone is computed once."""

    def __init__(self, judge: judges.Judge, subject: HeldOut):
        self.judge, self.scene = judge, subject.scene
        self.bank = judge.embed(subject.candidates, subject.masks)
        reference = subject.views[:1]
        self.whole, self.masked = judge.embed(reference), judge.embed(reference, judge.mask(reference))

    def __call__(self, picture: torch.Tensor) -> dict[str, float]:
        """How one generated picture [1, 3, H, W] compares with its subject, its caption and the distractors."""
        mine = self.judge.embed(picture, self.judge.mask(picture))
        scenes = self.judge.scenes(picture)[0]
        return {
            "top1": float(int((mine @ self.bank.T).argmax()) == 0),
            "similarity": float((self.judge.embed(picture) * self.whole).sum()),
            "masked_similarity": float((mine * self.masked).sum()),
            "scene_accuracy": float(int(scenes.argmax()) == self.scene),
            "scene_log_probability": float(scenes[self.scene]),
        }


def scored(sampler: Sampler, setting: Setting, subjects: list[HeldOut], scorers: list[Scorer]) -> list[dict[str, float]]:
    """What each subject's scorer says of a picture of it; a batch's noise follows from its first subject."""
    found = []
    for first in range(0, len(subjects), BATCH):
        part = slice(first, first + BATCH)
        pictures = sampler.pictures(subjects[part], setting, seed=HELD_OUT + first)
        found += [scorer(picture[None]) for scorer, picture in zip(scorers[part], pictures, strict=True)]
    return found


@torch.inference_mode()
def run(chosen: dict[str, Setting], count: int, steps: int, output: Path | None) -> None:
    """Evaluate the ``chosen`` settings on ``count`` subjects; print a table, write rows to ``output``."""
    judge = judges.load()
    quality = judges.quality(judge)
    print("Judges on fresh drawn pictures: " + ", ".join(f"{key} {value:.3f}" for key, value in quality.items()), flush=True)
    subjects = [held_out(number) for number in range(count)]
    scorers = [Scorer(judge, subject) for subject in subjects]
    samplers, rows, scores, known = {}, [], {}, {}
    print(f"{'setting':28}{'refs':>5}{'top1':>8}{'simil.':>8}{'masked':>8}{'scene':>8}{'log p':>8}{'seconds':>9}")
    for name, setting in chosen.items():
        started = time.time()
        if setting.model not in samplers:
            samplers[setting.model] = Sampler(setting.model, steps)
        if setting not in known:
            known[setting] = scored(samplers[setting.model], setting, subjects, scorers)
        found = known[setting]
        scores[name] = found
        means = {key: sum(row[key] for row in found) / count for key in found[0]}
        rows.append({"setting": name, "references": setting.references, "subjects": count, "steps": steps, **means})
        if setting.masks == choices.AUTO:
            rows[-1]["mask_iou"] = samplers[setting.model].agreement(subjects, setting, HELD_OUT)
        figures = "".join(f"{value:8.3f}" for value in means.values())
        masks = f"  masks' IoU {rows[-1]['mask_iou']:.3f}" if "mask_iou" in rows[-1] else ""
        print(f"{name:28}{setting.references:5}{figures}{time.time() - started:9.1f}{masks}", flush=True)
        if output:
            write(output, quality, rows, [])
    orders = order_of_modes(scores) if set(SWEEP) <= set(scores) else []
    for line in orders:
        difference = f"{line['difference']:+.4f} [{line['low']:+.4f}, {line['high']:+.4f}]"
        print(f"{line['figure']}: {line['larger']} - {line['smaller']} = {difference}")
    if output:
        write(output, quality, rows, orders)


def write(output: Path, quality: dict, rows: list[dict], orders: list[dict]) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps({"judges": quality, "rows": rows, "orders": orders}, indent=1) + "\n")


def order_of_modes(scores: dict[str, list[dict]], resamples: int = 10_000, seed: int = 0) -> list[dict]:
    """Differences between neighbouring guidance modes over the sweep, with 95 % paired-bootstrap bounds.

    Each subject's figure is its mean over the scales; subjects are resampled. Expected from table 6:
    similarity text first > joint > image first > text only, and scene log-probability the other way round.
    """
    modes = ("text-first", "joint", "image-first", "text-only")
    generator = torch.Generator().manual_seed(seed)
    lines = []
    for figure, order in (("similarity", modes), ("masked_similarity", modes), ("scene_log_probability", modes[::-1])):
        means = {
            mode: torch.tensor([[row[figure] for row in scores[f"{mode}@{value:g}"]] for value in LAMBDAS]).mean(dim=0)
            for mode in modes
        }
        for larger, smaller in pairwise(order):
            difference = means[larger] - means[smaller]
            low, high = bounds(difference, generator, resamples)
            lines.append(
                {
                    "figure": figure,
                    "larger": larger,
                    "smaller": smaller,
                    "difference": difference.mean().item(),
                    "low": low,
                    "high": high,
                }
            )
    return lines


def bounds(values: torch.Tensor, generator: torch.Generator, resamples: int = 10_000) -> tuple[float, float]:
    """95 % bootstrap bounds of the mean of ``values`` [cases]."""
    picks = torch.randint(len(values), (resamples, len(values)), generator=generator)
    low, high = torch.quantile(values[picks].mean(dim=1), torch.tensor([0.025, 0.975])).tolist()
    return low, high
