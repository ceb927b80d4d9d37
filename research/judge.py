"""The judges of the demo world: an embedder of subjects, a segmenter and a scene classifier.

They are trained on drawn pictures alone and never meet a diffusion model, so their verdict on generated
pictures is independent of it. Pictures are [B, 3, H, W] in 0..1.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from ..nodes.demo.toys import ToySegmenter, Trunk, cut
from ..nodes.training import loop as training
from . import world

WEIGHTS = Path(__file__).parent / "judge.safetensors"


class Judge(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedder, self.segmenter, self.classifier = Trunk(64), ToySegmenter(), Trunk(len(world.SCENES))

    def embed(self, picture: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Unit vectors [B, 64] of the subjects; ``mask`` [B, 1, H, W] cuts the background to grey first."""
        return F.normalize(self.embedder(picture if mask is None else cut(picture, mask)), dim=1)

    def mask(self, picture: torch.Tensor) -> torch.Tensor:
        """The subject's mask, 0 or 1, [B, 1, H, W]."""
        return (self.segmenter(picture) > 0).float()

    def scenes(self, picture: torch.Tensor) -> torch.Tensor:
        """Log-probabilities [B, scenes]."""
        return F.log_softmax(self.classifier(picture), dim=1)


def load() -> Judge:
    judge = Judge()
    judge.load_state_dict({key: value.float() for key, value in load_file(WEIGHTS).items()})
    return judge.eval().requires_grad_(False)


def views(subjects: world.Subjects, generator: torch.Generator):
    """A picture of each subject in any pose and scene: pictures, masks, scenes."""
    count = len(subjects)
    scenes = torch.randint(len(world.SCENES), (count,), generator=generator)
    picture, mask = world.draw(subjects, world.draw_poses(count, generator), scenes, generator)
    return picture, mask, scenes


def worn(picture: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Half of the pictures a little blurred and noisy, as decoded ones are."""
    blurred = F.avg_pool2d(picture, 3, 1, 1, count_include_pad=False)
    noise = 0.03 * torch.randn(picture.shape, generator=generator)
    chosen = torch.rand(len(picture), 1, 1, 1, generator=generator) < 0.5
    return torch.where(chosen, blurred + noise, picture)


def loss(judge: Judge, generator: torch.Generator, subjects: int = 48, temperature: float = 0.07):
    """Two views of each subject, all of one shape: contrastive loss, mask and scene cross-entropies."""
    shape = int(torch.randint(len(world.SHAPES), (1,), generator=generator))
    drawn = world.draw_subjects(subjects, generator, shape)
    pair = [views(drawn, generator) for _ in range(2)]
    device = training.device()
    pictures = [worn(picture, generator).to(device) for picture, _, _ in pair]
    picture = torch.cat(pictures)
    mask = torch.cat([mask for _, mask, _ in pair]).to(device)
    scenes = torch.cat([scenes for _, _, scenes in pair]).to(device)
    segmented = F.binary_cross_entropy_with_logits(judge.segmenter(picture).float(), mask)
    scene = F.cross_entropy(judge.classifier(picture).float(), scenes)
    shown = [masked.to(device) if torch.rand(1, generator=generator) < 0.7 else None for _, masked, _ in pair]
    a, b = (judge.embed(p, m).float() for p, m in zip(pictures, shown, strict=True))
    logits, same = a @ b.T / temperature, torch.arange(subjects, device=device)
    contrast = (F.cross_entropy(logits, same) + F.cross_entropy(logits.T, same)) / 2
    top1 = (logits.argmax(dim=1) == same).float().mean().item()
    return contrast + segmented + scene, {
        "contrast": contrast.item(),
        "top1": top1,
        "mask": segmented.item(),
        "scene": scene.item(),
    }


def train(folder: str, steps: int, rate: float = 2e-3, seed: int = 0) -> None:
    """Train for ``steps``; state in ``<folder>/judge.pt``, weights in ``judge.safetensors``; resumable."""
    torch.manual_seed(seed)
    judge = Judge()
    loop = training.Loop(folder, "judge", {"judge": judge}, rate, steps, seed)
    for _ in loop:
        with training.mixed_precision():
            value, figures = loss(judge, loop.generator)
        loop.learn(value, figures)
    save_file({key: value.half().cpu().contiguous() for key, value in loop.average["judge"].items()}, WEIGHTS)


@torch.no_grad()
def quality(judge: Judge, subjects: int = 200, distractors: int = 100, seed: int = 12345) -> dict:
    """The judges on fresh drawn pictures: retrieval among distractors of the same shape, IoU, scene accuracy."""
    generator = torch.Generator().manual_seed(seed)
    hits, unmasked, iou, right = [], [], [], []
    for number in range(subjects):
        drawn = world.draw_subjects(distractors + 1, generator, number % len(world.SHAPES))
        candidates, masks, _ = views(drawn, generator)
        picture, mask, scene = views(drawn[:1], generator)
        found = judge.mask(picture)
        bank, plain = judge.embed(candidates, masks), judge.embed(candidates)
        hits.append(int((judge.embed(picture, found) @ bank.T).argmax()) == 0)
        unmasked.append(int((judge.embed(picture) @ plain.T).argmax()) == 0)
        solid = mask > 0.5
        iou.append(float((found.bool() & solid).sum() / (found.bool() | solid).sum()))
        right.append(int(judge.scenes(picture).argmax()) == int(scene))
    mean = lambda values: sum(values) / len(values)  # noqa: E731
    return {
        "retrieval_top1": mean(hits),
        "retrieval_top1_unmasked": mean(unmasked),
        "iou": mean(iou),
        "scene_accuracy": mean(right),
    }
