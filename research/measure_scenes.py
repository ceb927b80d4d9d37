"""The measurement itself: scenes through the pack's nodes, retrieval inside both masks, steps of colour at their edges."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

import comfy.sample
import torch

from ..nodes.concepts import choosing, detection, phrases
from ..nodes.concepts.host import finding
from ..nodes.concepts.masks import BY_SCORE
from ..nodes.concepts.places import Finish
from ..nodes.data.pictures import as_picture
from ..nodes.demo.host import model as demo_model
from ..nodes.demo.host import tools as demo_tools
from ..nodes.demo.toys import SIDE, around
from ..nodes.identity import faces
from ..nodes.identity.host import applying
from ..nodes.identity.recognising import choose_in_pictures
from ..nodes.joint import references, settings
from ..nodes.joint.host import sets
from ..nodes.scene.branch import Branch
from ..nodes.scene.host.runs import Scene
from . import export, inpainting, world
from . import judge as judges
from .ablations import joined
from .held_out import HeldOut, draw
from .scenes import Setting

HELD_OUT = 30_000_000
"""Seed of the held-out scenes."""
TWO_SHAPES = 31_000_000
"""Seed of those of two shapes."""
CFG = 3.0
STRENGTH = 1.0
GROW, FEATHER = 3, 0.5
MOST_TRIES = 5


def held_out(number: int) -> HeldOut:
    """Two subjects of one shape, wanted left and right; a view of each."""
    return draw(HELD_OUT, number, [0, 1], lambda shape, scene: world.pair_caption(shape, shape, scene))


def of_two_shapes(number: int) -> HeldOut:
    """The same with a second subject of the next shape; its `phrase` has a line for each, its distractors are halves of each."""
    shape, scene = world.take_turns(number)
    beside = (shape + 1) % len(world.SHAPES)

    def drawn(first_seed: int, number: int) -> HeldOut:
        return draw(first_seed, number, [0], lambda *_: world.pair_caption(shape, beside, scene))

    first, second = drawn(TWO_SHAPES, number), drawn(TWO_SHAPES + 500_000, number - shape + beside)

    def of_both(name: str) -> torch.Tensor:
        mine, others = getattr(first, name), getattr(second, name)
        return torch.cat((mine[:1], others[:1], mine[1:], others[1:]))

    return HeldOut(
        captions=[*first.captions, *second.captions],
        prompt=first.prompt,
        phrase=f"{first.phrase}\n{second.phrase}",
        scene=scene,
        **{name: of_both(name) for name in ("views", "view_masks", "candidates", "masks")},
    )


class Painter:
    """The demo's model of scenes, used through the pack's nodes."""

    def __init__(self, steps: int, joined: Path | None = None):
        self.joined_file = joined
        self.model, self.clip, self.vae = demo_model.load(export.FILES["scene"])
        self.adapter, self.finder = demo_tools.load(export.FILES["scene"])
        self.steps = steps

    def sample(self, model, prompt: str, seed: int) -> torch.Tensor:
        """One picture [1, H, W, 3]."""
        positive, negative = self.text(prompt), self.text("")
        side = SIDE // self.vae.spacial_compression_encode()
        latent = torch.zeros(1, 4, side, 2 * side)
        return self.first(model, positive, negative, {"samples": latent}, seed)

    @cached_property
    def joint(self) -> tuple:
        """The demo's joint-image model, its CLIP and its VAE."""
        return demo_model.load(export.FILES["joint"])

    @cached_property
    def joined(self) -> tuple:
        """The model that was trained on joined sets, its CLIP and its VAE."""
        return demo_model.load(self.joined_file)

    def first(self, model, positive: list, negative: list, latent: dict, seed: int, vae=None) -> torch.Tensor:
        """The first picture [1, H, W, 3] of a batch that a LATENT begins. vae: where it is not that of scenes."""
        noise = comfy.sample.prepare_noise(latent["samples"], seed, latent.get("batch_index"))
        samples = comfy.sample.sample(
            model, noise, self.steps, CFG, "euler", "karras", positive, negative, latent["samples"],
            noise_mask=latent.get("noise_mask"), seed=seed, disable_pbar=True,
        )  # fmt: skip
        return (vae or self.vae).decode(samples[:1]).clamp(0, 1).float().cpu()

    def text(self, words: str) -> list:
        return self.clip.encode_from_tokens_scheduled(self.clip.tokenize(words))

    def base(self, pair: HeldOut, first_seed: int):
        """Seed, picture and concepts of the first base picture that shows both subjects; None if none does."""
        for seed in range(first_seed, first_seed + MOST_TRIES):
            picture = self.sample(self.model, pair.prompt, seed)
            if (concepts := self.concepts(pair, picture)) is not None:
                return seed, picture, concepts
        return None

    def concepts(self, pair: HeldOut, picture: torch.Tensor, segmenter=None, grow: int = GROW):
        """Both subjects' shapes in a picture [1, H, W, 3], from left to right; None where it does not show them."""
        names = phrases.split("\n".join((pair.phrase.splitlines() * 2)[:2]))
        try:
            found = finding.find(self.finder, picture, names, choosing.Rule(order=choosing.LEFT_TO_RIGHT), detection.Thresholds())
            return finding.cut_out(found, Finish(grow, BY_SCORE, FEATHER), segmenter)
        except ValueError:
            return None

    def toys(self, pair: HeldOut, picture: torch.Tensor) -> torch.Tensor | None:
        """The same as masks [2, H, W] in the toys' own forms, a little larger; None where there are not both."""
        found = self.concepts(pair, picture, demo_tools.ToyMasks(self.finder.finder), inpainting.GROWN)
        return None if found is None else (found.masks[0] > 0.5).float()

    def identities(self, pair: HeldOut) -> list:
        views = [[view.movedim(0, -1)] for view in pair.views]
        return [faces.gather(choose_in_pictures("Identity", self.finder, view, faces.Choice())) for view in views]

    def paint(self, pair: HeldOut, setting: Setting, seed: int, concepts, identities, base: torch.Tensor) -> torch.Tensor:
        """The scene [1, H, W, 3] by one setting. base: the picture that the concepts were found in."""
        if setting.one_after_the_other:
            tools = self.joint if setting.trained else (self.model, self.clip, self.vae)
            sampled = partial(self.first, vae=tools[2])
            toys = self.toys(pair, base)
            toys = (concepts.masks[0] > 0.5).float() if toys is None else toys
            return inpainting.one_after_the_other(tools, sampled, pair, base, toys, seed)
        if setting.then:
            tools = (self.model, self.clip, self.vae)
            return inpainting.one_and_then_the_other(tools, self.first, pair, partial(self.toys, pair), seed)
        if setting.joined:
            return self.from_joined(pair, seed)
        model = self.model
        for number, identity in enumerate(identities if setting.identities else ()):
            mask = concepts.masks[:, number] if setting.masked and not setting.branches else None
            model = applying.add_to_model(model, self.adapter, identity, STRENGTH, mask=mask)
        if setting.references:
            return self.from_references(pair, seed, concepts, setting.words)
        if setting.branches:
            chain = tuple(Branch(self.text(pair.prompt), self.text("")) for _ in identities)
            model = Scene(chain, concepts, setting.branches, setting.last_steps, FEATHER).install(model)
        return self.sample(model, pair.prompt, seed)

    def from_references(self, pair: HeldOut, seed: int, concepts, words: bool) -> torch.Tensor:
        """The scene [1, H, W, 3] as one picture of a joint set, each subject's reference acting inside its own mask.

        words: or where the model finds its word.
        """
        views = zip(pair.views, pair.captions, pair.view_masks, concepts.masks[0], strict=True)
        shown: tuple = ()
        for view, caption, mask, where in views:
            picture, masks = [view.movedim(0, -1)], [mask[0]]
            place = {"by_word": True} if words else {"where": [where]}
            shown += references.gather(picture, masks, [caption], "pad", "grey", True, **place)
        one = sets.prepare(self.clip, self.vae, shown, [pair.prompt], "", 1, 2 * SIDE, SIDE)
        options = replace(sets.options_of(settings.AUTO, self.model, one.joint_set), subject_masks=settings.GIVEN)
        model = sets.apply(self.model, one.joint_set, settings.Settings(options=options))
        return self.first(model, one.positive, one.negative, one.latent, seed)

    def from_joined(self, pair: HeldOut, seed: int) -> torch.Tensor:
        """The scene [1, H, W, 3] by the model of joined sets, from both subjects' pictures side by side."""
        model, clip, vae = self.joined
        one = joined.prepared(clip, vae, pair)
        options = sets.options_of(settings.AUTO, model, one.joint_set)
        painted = sets.apply(model, one.joint_set, settings.Settings(options=options))
        return self.first(painted, one.positive, one.negative, one.latent, seed, vae)


class Scorer:
    """The judges' verdict on pictures of one pair."""

    def __init__(self, judge: judges.Judge, pair: HeldOut, base: torch.Tensor, concepts):
        self.judge, self.pair = judge, pair
        bank = judge.embed(pair.candidates, pair.masks)
        others = bank[2:].chunk(2) if "\n" in pair.phrase else [bank[2:]] * 2
        self.banks = [torch.cat((bank[subject : subject + 1], others[subject])) for subject in (0, 1)]
        self.masks = [mask[None, None] for mask in concepts.masks[0]]
        self.edges = [edge(mask[0, 0]) for mask in self.masks]
        self.before = self.steps(base)

    def __call__(self, picture: torch.Tensor) -> dict[str, float]:
        """Figures of a picture [1, H, W, 3]: of both subjects, the mean."""
        seen = picture.movedim(-1, 1)
        own, other = [], []
        for number, mask in enumerate(self.masks):
            x, y = (axis.float().mean() for axis in mask[0, 0].nonzero(as_tuple=True)[::-1])
            box = torch.stack((x, y, x, y))
            square, inside = around(seen, box), around(mask, box)
            embedding = self.judge.embed(square, self.judge.mask(square) * (inside > 0.5))
            for subject in (0, 1):
                hit = float(int((embedding @ self.banks[subject].T).argmax()) == 0)
                (own if subject == number else other).append(hit)
        halves = torch.cat((seen[..., :SIDE], seen[..., SIDE:]))
        scenes = (self.judge.scenes(halves).argmax(dim=1) == self.pair.scene).float().mean()
        return {
            "own_mask_top1": sum(own) / 2,
            "other_mask_top1": sum(other) / 2,
            "scene_accuracy": float(scenes),
            "seam": self.steps(picture) - self.before,
        }

    def steps(self, picture: torch.Tensor) -> float:
        """Mean step of colour, in 0..255, between the pixels on both sides of the masks' edges."""
        across = (picture[0, :, 1:] - picture[0, :, :-1]).abs().mean(dim=-1)
        down = (picture[0, 1:] - picture[0, :-1]).abs().mean(dim=-1)
        found = torch.cat([torch.cat((across[columns], down[rows])) for columns, rows in self.edges])
        return float(found.mean() * 255)


def verdict(painter: Painter, judge: judges.Judge, pair: HeldOut, picture: torch.Tensor) -> dict[str, float]:
    """A `Scorer`'s of a picture whose subjects stand where they like: in the masks that are found in it, none where none are.

    There are no edges that they were painted inside of, so there is no `seam`.
    """
    concepts = painter.concepts(pair, picture)
    found = Scorer(judge, pair, picture, concepts or Nowhere())(picture)
    if concepts is None:
        found |= {"own_mask_top1": 0.0, "other_mask_top1": 0.0}
    return found | {"seam": float("nan")}


class Nowhere:
    """Masks of two concepts that are not there: all of each half."""

    masks = torch.stack([torch.arange(2 * SIDE).expand(SIDE, -1) < SIDE, torch.arange(2 * SIDE).expand(SIDE, -1) >= SIDE])[
        None
    ].float()


def edge(mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where a mask [H, W] begins or ends between neighbours: across [H, W - 1] and down [H - 1, W]."""
    solid = mask > 0.5
    return solid[:, 1:] != solid[:, :-1], solid[1:] != solid[:-1]


@torch.inference_mode()
def run(
    chosen: dict[str, Setting],
    numbers: Iterable[int],
    steps: int,
    output: Path | None,
    pictures: Path | None,
    drawn: Callable[[int], HeldOut] = held_out,
    joined_file: Path | None = None,
) -> None:
    """Measure the ``chosen`` settings on scenes ``numbers``, as they are ``drawn``; print a table, write rows to ``output``."""
    judge, painter = judges.load(), Painter(steps, joined_file)
    scores: dict[str, list[dict]] = {name: [] for name in chosen}
    seconds = dict.fromkeys(chosen, 0.0)
    missing = 0
    for number in numbers:
        pair = drawn(number)
        base = painter.base(pair, HELD_OUT + 100 * number)
        if base is None:
            missing += 1
            continue
        seed, picture, concepts = base
        scorer, identities, row = Scorer(judge, pair, picture, concepts), painter.identities(pair), [picture]
        for name, setting in chosen.items():
            started = time.time()
            row.append(painter.paint(pair, setting, seed, concepts, identities, picture))
            seconds[name] += time.time() - started
            scores[name].append(verdict(painter, judge, pair, row[-1]) if setting.joined or setting.then else scorer(row[-1]))
        if pictures:
            save(pictures / f"scene_{number:03}.png", pair, row)
    rows = []
    print(f"Scenes whose base picture showed both subjects in one of {MOST_TRIES} tries: {len(scores[next(iter(chosen))])}")
    print(f"{'setting':30}{'scenes':>8}{'own':>8}{'other':>8}{'scene':>8}{'seam':>8}{'s each':>8}")
    for name, found in scores.items():
        means = {key: sum(score[key] for score in found) / len(found) for key in found[0]}
        rows.append({"setting": name, "scenes": len(found), "without_base": missing, "steps": steps, **means})
        figures = "".join(f"{value:8.3f}" for value in means.values())
        print(f"{name:30}{len(found):8}{figures}{seconds[name] / len(found):8.2f}", flush=True)
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(rows, indent=1) + "\n")


def save(path: Path, pair: HeldOut, row: list[torch.Tensor]) -> None:
    """Both subjects' pictures, the base picture, then each setting's, side by side."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = [*(view.movedim(0, -1) for view in pair.views), *(picture[0] for picture in row)]
    as_picture(torch.cat(parts, dim=1)).save(path)
