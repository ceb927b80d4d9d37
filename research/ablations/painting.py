"""Pictures of an arm: joint-image models through the nodes' code, baselines through stock conditioning."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from ...nodes.joint import guidance
from ...nodes.joint.layout import MOST_PICTURES
from ...nodes.training import loop as training
from .. import image_encoder, measure
from ..evaluate import Setting
from ..held_out import HeldOut
from . import encoders
from .arms import CLIP, Arm
from .training import SHOWN, Start


class Painter(measure.Sampler):
    """A trained arm. With the same seed all arms begin from the same noise. start: encoder and VAE of image encoders."""

    def __init__(self, arm: Arm, path: Path, steps: int, start: Start):
        super().__init__(path, steps)
        self.arm, self.start, self.shown = arm, start, encoders.made(arm)
        if self.shown is not None:
            state = {key.removeprefix(SHOWN): value for key, value in load_file(path).items() if key.startswith(SHOWN)}
            self.shown.load_state_dict(state)
            self.shown.eval().to(training.device())

    def texts(self, subjects: list[HeldOut], references: int) -> tuple[list, list]:
        """As `measure.Sampler`, with the image encoder's tokens behind each text; of a baseline a row a subject."""
        shown = references if self.arm.coupled else 0
        positive, negative = super().texts(subjects, shown)
        if self.shown is None:
            return positive, negative
        seen = self.seen(subjects).to(training.device())
        given = torch.full((len(subjects),), references > 0, device=seen.device)
        with torch.no_grad():
            tokens, nothing = self.shown(seen, given).cpu(), self.shown(seen[:1], given[:1] & False).cpu()
        return _longer(positive, tokens.repeat_interleave(1 + shown, dim=0)), _longer(negative, nothing)

    def seen(self, subjects: list[HeldOut]) -> torch.Tensor:
        """What the image encoder sees: the first reference of each subject, a cut-out as drawn or latents."""
        views = torch.cat([subject.views[:1] for subject in subjects])
        if self.arm.encoder == CLIP:
            masks = torch.cat([subject.view_masks[:1] for subject in subjects])
            return self.start.embed(image_encoder.prepared(views, masks))
        return self.start.encode(views)

    def pictures(self, subjects: list[HeldOut], setting: Setting, seed: int) -> torch.Tensor:
        """As `measure.Sampler`. Of a baseline, text and reference have one scale, the setting's ``cfg``."""
        if self.arm.coupled:
            return super().pictures(subjects, setting, seed)
        if setting.mode != guidance.JOINT or setting.references > 1:
            raise ValueError(f"A baseline takes one reference and joint guidance, but was given {setting}.")
        positive, negative = self.texts(subjects, setting.references)
        views = torch.cat([subject.views[:1] for subject in subjects])
        latent = self.vae.encode(views.movedim(1, -1)).float().cpu()
        if self.arm.concatenated:
            positive = _beside(positive, latent * setting.references, 1 - setting.references)
            negative = _beside(negative, latent * 0, 1)
        index = [row * MOST_PICTURES for row in range(len(subjects))]
        return self.sampled(self.model, latent * 0, index, positive, negative, setting, seed, slice(None))


def _longer(conditioning: list, tokens: torch.Tensor) -> list:
    """With ``tokens`` [B, T, D] behind those of the text."""
    return [[torch.cat((states, tokens.to(states)), dim=1), values] for states, values in conditioning]


def _beside(conditioning: list, latent: torch.Tensor, missing: int) -> list:
    """With what stock inpainting models get beside their noise. latent: unscaled, [B, 4, h, w]."""
    mask = torch.full((len(latent), 1, *latent.shape[-2:]), float(missing))
    return [[states, {**values, "concat_latent_image": latent, "concat_mask": mask}] for states, values in conditioning]
