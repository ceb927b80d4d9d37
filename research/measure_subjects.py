"""The measurement itself: pictures with one toy or two through the pack's nodes, and the judges' verdict on each place."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import comfy.sample
import torch

from ..nodes.concepts.places import box_of
from ..nodes.data.pictures import as_picture
from ..nodes.demo.host import model as demo_model
from ..nodes.demo.host import tools as demo_tools
from ..nodes.demo.toys import SIDE, around, blobs
from ..nodes.joint.host.attention import level
from ..nodes.subject import attention_maps, places, settings, where
from ..nodes.subject.chain import Subjects
from ..nodes.subject.host import applying, files, layers, loading, prompting, steering
from . import export, world
from . import judge as judges
from .held_out import HeldOut, draw
from .measure import bounds
from .subjects import SHIPPED, Setting

HELD_OUT = {1: 40_000_000, 2: 41_000_000}
"""Seed of the held-out pictures with one toy, and with two."""
TEXT_SCALE, IMAGE_SCALE = 3.0, 1.5
INSIDE = 0.5
"""Overlap over union of two boxes above which a toy is where it was asked for."""
FIGURES = ("top1", "other_top1", "similarity", "scene_accuracy", "inside", "all_inside", "pixels_inside", "attention_inside")


@dataclass(frozen=True)
class Case:
    """What is asked for. boxes: of each toy, xyxy in shares, in the order of the toys. width: of the picture, in pixels."""

    toys: HeldOut
    boxes: tuple[where.Box, ...]
    width: int

    @property
    def pixels(self) -> list[torch.Tensor]:
        """The boxes in pixels, [4] each."""
        return [
            torch.tensor([left * self.width, top * SIDE, right * self.width, bottom * SIDE])
            for left, top, right, bottom in self.boxes
        ]


def held_out(number: int, count: int) -> Case:
    """Case ``number`` with ``count`` toys, all of one shape; of two, the first goes left in every other case."""

    def prompt(shape: int, scene: int) -> str:
        return world.caption(shape, scene) if count == 1 else world.pair_caption(shape, shape, scene)

    toys = draw(HELD_OUT[count], number, list(range(count)), prompt)
    generator = torch.Generator().manual_seed(HELD_OUT[count] + 500_000 + number)
    poses, width = world.draw_places(count, generator), SIDE * count
    if count == 2:
        poses.centre[:, 0] += torch.tensor([-0.5, 0.5])
    shape = torch.full((count,), world.SHAPES.index(toys.phrase))
    subjects = world.draw_subjects(count, generator)
    subjects.shape[:] = shape
    _, masks = world.paint(torch.zeros(count, 3, SIDE, width), subjects, poses)
    boxes = [places.box_of(mask[0] > 0.5) for mask in masks]
    return Case(toys, tuple(boxes[::-1] if count == 2 and number // 2 % 2 else boxes), width)


class Painter:
    """The demo's model of scenes, used through the pack's nodes. models: folder of adapters to compare."""

    def __init__(self, models: Path, steps: int):
        self.model, self.clip, self.vae = demo_model.load(export.FILES["scene"])
        self.models, self.steps, self.adapters = models, steps, {}
        self.attended: list[float] = []

    def adapter(self, name: str):
        if name not in self.adapters:
            path = files.DEMO_FILE if name == SHIPPED else self.models / f"{name}.safetensors"
            self.adapters[name] = loading.load(path, clip=self.clip)
        return self.adapters[name]

    def paint(self, case: Case, setting: Setting, seed: int, alpha: float = 0.0) -> torch.Tensor:
        """A picture [1, H, W, 3]."""
        toys, model = case.toys, self.model
        if setting.model is None:
            self.attended = []
            texts = [self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text)) for text in (toys.prompt, "")]
            return self.sample(model, *texts, case.width, seed)
        adapter = self.adapter(setting.model)
        each = [
            applying.encode(adapter, view.movedim(0, -1)[None], mask, toys.phrase, box)[0]
            for view, mask, box in zip(toys.views, toys.view_masks, case.boxes, strict=True)
        ]
        subjects = Subjects(adapter, tuple(each))
        positive, negative = prompting.prompts(adapter, subjects, toys.prompt, "")
        strength, steering = float(setting.layers), settings.Steering(setting.control)
        chosen = settings.Settings(IMAGE_SCALE, strength, interpolation=alpha, steering=steering)
        model, self.attended = looked_at(applying.apply(model, subjects, chosen), case.boxes)
        return self.sample(model, positive, negative, case.width, seed)

    def sample(self, model, positive, negative, width: int, seed: int) -> torch.Tensor:
        factor = self.vae.spacial_compression_encode()
        latent = torch.zeros(1, 4, SIDE // factor, width // factor)
        noise = comfy.sample.prepare_noise(latent, seed)
        samples = comfy.sample.sample(
            model, noise, self.steps, TEXT_SCALE, "euler", "karras", positive, negative, latent, seed=seed, disable_pbar=True
        )
        return self.vae.decode(samples).clamp(0, 1).float().cpu()


def looked_at(model, boxes: tuple[where.Box, ...]) -> tuple[Any, list[float]]:
    """A clone of a model with subjects, and what share of attention to the words for each is in its box, a figure a layer."""
    model, found = model.clone(), []

    def looking(text: layers.Text):
        def look(q, k, v, options):
            call = options.get(layers.CALL)
            if call is not None and level(options) in steering.WATCHED:
                trained, _ = text.trained(call, k, v)
                size, latent = (tuple(options[name][-2:]) for name in ("activations_shape", "original_shape"))
                inside = torch.cat([1 - where.channel([box], *latent)[0] for box in boxes])
                inside = attention_maps.at_size(inside[None], *size)[:, :, None]
                for number, words in enumerate(call.words):
                    if words and not q.requires_grad:  # what attention control looks at is not painted
                        rows = slice(number * call.rows, (number + 1) * call.rows)
                        shares = steering.to_words(q[rows], trained[rows], options["n_heads"], words)
                        found.append(float(((shares * inside).sum(dim=-1) / shares.sum(dim=-1)).mean()))
            return text(q, k, v, options)

        return look

    for block, text in list(model.model_options["transformer_options"]["patches_replace"]["attn2"].items()):
        model.set_model_attn2_replace(looking(text), *block)
    return model, found


class Scorer:
    """The judges' verdict on pictures of one case."""

    def __init__(self, judge: judges.Judge, case: Case):
        self.judge, self.case, count = judge, case, len(case.boxes)
        bank = judge.embed(case.toys.candidates, case.toys.masks)
        self.banks = [torch.cat((bank[number : number + 1], bank[count:])) for number in range(count)]

    def __call__(self, picture: torch.Tensor) -> dict[str, float]:
        seen = picture.movedim(-1, 1)
        found = self.judge.mask(seen)
        parts = blobs(found[0, 0] > 0.5)
        inside, hits, others, similar = [], [], [], []
        for number, box in enumerate(self.case.pixels):
            inside.append(float(any(overlap(torch.tensor(box_of(part).corners).float(), box) >= INSIDE for part in parts)))
            square = around(seen, box)
            shown = around(within(found, box), box)
            embedding = self.judge.embed(square, shown)
            for subject, bank in enumerate(self.banks):
                hit = float(int((embedding @ bank.T).argmax()) == 0)
                (hits if subject == number else others).append(hit)
            similar.append(float(embedding @ self.banks[number][0]))
        every = torch.stack([within(found, box) for box in self.case.pixels]).amax(dim=0)
        squares = torch.cat(seen.split(SIDE, dim=-1))
        return {
            "top1": mean(hits),
            "other_top1": mean(others) if others else 0.0,
            "similarity": mean(similar),
            "scene_accuracy": float((self.judge.scenes(squares).argmax(dim=1) == self.case.toys.scene).float().mean()),
            "inside": mean(inside),
            "all_inside": float(all(inside)),
            "pixels_inside": float(every.sum() / found.sum().clamp(min=1)),
        }


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def within(mask: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
    """What of a mask [1, 1, H, W] is in a box, in pixels."""
    left, top, right, bottom = (round(float(value)) for value in box)
    kept = torch.zeros_like(mask)
    kept[..., top:bottom, left:right] = mask[..., top:bottom, left:right]
    return kept


def overlap(one: torch.Tensor, two: torch.Tensor) -> float:
    return where.overlap(tuple(one.tolist()), tuple(two.tolist()))


@torch.inference_mode()
def run(
    chosen: dict[str, Setting], counts: Iterable[int], numbers: range, painter: Painter, output: Path | None, save: Path | None
) -> None:
    """Measure the ``chosen`` settings on cases ``numbers``; print a table, write rows to ``output``."""
    judge, rows = judges.load(), []
    plain = {name: setting for name, setting in chosen.items() if not setting.alphas}
    for count in counts if plain else ():
        print(f"{count} toy{'s' * (count > 1)}, {len(numbers)} pictures")
        print(f"{'setting':20}" + "".join(f"{name:>17}" for name in FIGURES) + f"{'s each':>8}")
        scores: dict[str, list[dict[str, float]]] = {}
        for name, setting in plain.items():
            started, found = time.time(), []
            for number in numbers:
                case = held_out(number, count)
                picture = painter.paint(case, setting, HELD_OUT[count] + number)
                attended = {"attention_inside": mean(painter.attended) if painter.attended else 0.0}
                found.append({**Scorer(judge, case)(picture), **attended})
                if save:
                    keep(save / f"{count}_{number:03}_{name}.png", case, picture)
            scores[name] = found
            means = {figure: mean([one[figure] for one in found]) for figure in FIGURES}
            full = setting.model == SHIPPED and setting.layers and not setting.control
            rows.append(
                {"setting": name, "full": full, "subjects": count, "pictures": len(found), "steps": painter.steps, **means}
            )
            print(
                f"{name:20}"
                + "".join(f"{value:17.3f}" for value in means.values())
                + f"{(time.time() - started) / len(found):8.2f}",
                flush=True,
            )
        against(scores, rows)
    for name, setting in chosen.items():
        if setting.alphas:
            rows += interpolate(name, setting, numbers, painter, judge)
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(rows, indent=1) + "\n")


def against(scores: dict[str, list[dict[str, float]]], rows: list[dict]) -> None:
    """Print by how much each setting differs from the first, with the paired bootstrap's interval of 95 %."""
    first, *others = scores
    for name in others:
        said = []
        for figure in ("top1", "similarity", "inside"):
            apart = [other[figure] - one[figure] for one, other in zip(scores[first], scores[name], strict=True)]
            low, high = bounds(torch.tensor(apart), torch.Generator().manual_seed(0))
            said.append(f"{figure} {mean(apart):+.3f} [{low:+.3f}, {high:+.3f}]")
        print(f"  {name} less {first}: " + ", ".join(said), flush=True)


def interpolate(name: str, setting: Setting, numbers: range, painter: Painter, judge: judges.Judge) -> list[dict]:
    """A toy's picture beside the word for another shape, "a star, the ball is …"; more steps have the word alone (appendix E)."""
    (_, toys), rows = demo_tools.load(export.FILES["scene"]), []
    print(f"interpolation, {len(numbers)} pictures: the picture's toy against the word's shape")
    for alpha in setting.alphas:
        similar, probable = [], []
        for number in numbers:
            case = held_out(number, 1)
            word = world.SHAPES[(world.SHAPES.index(case.toys.phrase) + 1) % len(world.SHAPES)]
            prompt = world.caption(world.SHAPES.index(word), case.toys.scene)
            asked = Case(replaced(case.toys, prompt), case.boxes, case.width)
            picture = painter.paint(asked, setting, HELD_OUT[1] + number, alpha)
            scorer = Scorer(judge, case)
            similar.append(scorer(picture)["similarity"])
            seen, box = picture.movedim(-1, 1), case.pixels[0]
            square = around(seen, box), around(judge.mask(seen), box)
            probable.append(float(toys.finder.shapes(*square).softmax(dim=1)[0, world.SHAPES.index(word)]))
        rows.append({"setting": name, "alpha": alpha, "similarity": mean(similar), "word": mean(probable)})
        print(f"  alpha {alpha:.1f}: similarity {mean(similar):.3f}, probability of the word {mean(probable):.3f}", flush=True)
    return rows


def replaced(toys: HeldOut, prompt: str) -> HeldOut:
    return HeldOut(**{**vars(toys), "prompt": prompt})


def keep(path: Path, case: Case, picture: torch.Tensor) -> None:
    """The toys' pictures and the painted one, side by side."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = [*(view.movedim(0, -1) for view in case.toys.views), picture[0]]
    as_picture(torch.cat(parts, dim=1)).save(path)
