"""One step of training: equations 1 and 2 on a UNet of the host."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from ...joint import objective
from .network import Network


@dataclass(frozen=True, eq=False)
class Sets:
    """Sets of ``pictures`` each, set by set: B rows. latents: clean and scaled, [B, 4, h, w]. states: their texts, [B, T, D].

    null_states: of the empty text, [1, T, D]. y, null_y: what SDXL is told of texts and sizes, [B, A], with captions and without.
    """

    latents: torch.Tensor
    states: torch.Tensor
    null_states: torch.Tensor
    pictures: int
    y: torch.Tensor | None = None
    null_y: torch.Tensor | None = None


@dataclass(frozen=True, eq=False)
class Outcome:
    """loss: what is minimised. rows: the squared error of each row, and missing: M, 1 where it had to be generated, both [B]."""

    loss: torch.Tensor
    rows: torch.Tensor
    missing: torch.Tensor


def step(
    network: Network,
    sets: Sets,
    schedule: torch.Tensor,
    generator: torch.Generator,
    autocast: Callable[[], AbstractContextManager] = nullcontext,
) -> Outcome:
    """Equation 2 on a draw of ``generator``; without channels for references, equation 1. schedule: the base's.

    autocast: precision of the forward pass. Loss and draw are computed in single precision on the CPU.
    """
    settings, prediction = network.settings, network.base.prediction
    batch = objective.draw_batch(sets.latents, sets.pictures, schedule, generator, settings.head_start)
    captioned = batch.captioned > 0
    states = torch.where(captioned[:, None, None], sets.states, sets.null_states)
    y = None if sets.y is None else torch.where(captioned[:, None], sets.y, sets.null_y)
    device = next(network.parameters()).device

    def predict(x: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        given = (x.to(device), timestep.float().to(device), states.to(device))
        with autocast():
            predicted = network(*given, sets.pictures, None if y is None else y.to(device))
        return predicted.float().cpu()

    rows = objective.loss(predict, batch, settings.references, prediction)
    weights = objective.weights(batch, settings.snr, prediction) if settings.snr else 1.0
    if settings.head_start:
        weights = weights * objective.high_noise_weights(batch.alphas_cumprod, prediction)
    return Outcome((weights * rows).mean(), rows.detach(), batch.missing)
