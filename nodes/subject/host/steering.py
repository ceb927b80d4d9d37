"""Attention control while sampling: latents are moved so that the words for each subject are attended to in its own place.

The gradient is that of equation 2 in the form of `attention_maps.balanced`, taken at the sampler's latents before a step, as
Attend-and-Excite (arXiv:2301.13826, section 3.2) does with a loss of its own. One picture at a time, and no further through the
UNet than its last layer that is watched, so that memory does not grow with the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from .. import attention_maps, where

WATCHED = ("half", "quarter", "eighth")
"""Levels of the layers whose attention counts: 32, 16 and 8 of 64 latents."""
LOUDER = 2.0**10
"""By how much a loss is multiplied on its way back, so that half precision does not lose it."""


class Enough(Exception):
    """Raised where the last watched layer was reached."""


@dataclass(eq=False)
class Watch:
    """What is seen of one call. boxes: of the subjects. last: how many layers are watched, once that is known."""

    boxes: tuple[where.Box, ...]
    last: int | None
    losses: list[torch.Tensor] = field(default_factory=list)

    def see(self, q, k, heads: int, words: tuple[tuple[int, int], ...], size: tuple[int, int], latent: tuple[int, int]) -> None:
        """Attention of a layer of ``size`` tokens, q [B, L, D] to the texts k [B, T, D]. words: positions of each subject's."""
        watched = to_words(q, k, heads, words)
        inside = torch.cat([1 - where.channel([box], *latent)[0] for box in self.boxes])[None].to(watched)
        self.losses.append(attention_maps.balanced(watched, attention_maps.at_size(inside, *size)).mean())
        if len(self.losses) == self.last:
            raise Enough


def to_words(q: torch.Tensor, k: torch.Tensor, heads: int, words: Sequence[tuple[int, int]]) -> torch.Tensor:
    """Probabilities [B, K, 2, L] of the two words for each of K subjects, the mean over heads. q: [B, L, D], k: [B, T, D]."""
    q, k = (part.unflatten(-1, (heads, -1)).transpose(1, 2).float() for part in (q, k))
    shares = (q * q.shape[-1] ** -0.5 @ k.mT).softmax(dim=-1).mean(dim=1)
    return torch.stack([shares[..., list(own)].mT for own in words], dim=1)


@contextmanager
def differentiable(networks: Iterable[torch.nn.Module]) -> Iterator[None]:
    """Inside, gradients can pass through ``networks``: what a node loads is made for inference only, which autograd refuses.

    Their weights are replaced by others on the same memory, and put back.
    """
    replaced = []
    with torch.inference_mode(False), torch.enable_grad():
        for network in networks:
            for part in network.modules():
                for name, weight in part._parameters.items():
                    if weight is not None and weight.is_inference():
                        replaced.append((part, name, weight))
        try:
            for part, name, weight in replaced:
                part._parameters[name] = torch.nn.Parameter(_shared(weight), requires_grad=False)
            yield
        finally:
            for part, name, weight in replaced:
                part._parameters[name] = weight


def _shared(weight: torch.Tensor) -> torch.Tensor:
    empty = torch.empty(0, dtype=weight.dtype, device=weight.device)
    return empty.set_(weight.untyped_storage(), weight.storage_offset(), weight.size(), weight.stride())


def moves(
    x: torch.Tensor, sigma: torch.Tensor, watch: Callable[[], Watch], predict: Callable[[torch.Tensor, torch.Tensor, Watch], None]
) -> tuple[torch.Tensor, list[float], int]:
    """The gradient of the loss at latents x [B, C, h, w], in the scale of the diffusion process; each row's loss; watched layers.

    sigma: [B]. predict: calls the UNet on one row [1, C, h, w] at [1], with hooks that fill the watch. The host's x is
    z · sqrt(σ² + 1), so that a move of z along its own gradient is (σ² + 1) times that of x.
    """
    gradients, losses, layers = [], [], 0
    for row in range(len(x)):
        seen = watch()
        latents, level = x[row : row + 1].detach().clone().requires_grad_(), sigma[row : row + 1].clone()
        try:
            predict(latents, level, seen)
        except Enough:
            pass
        layers = len(seen.losses)
        if not layers:
            raise ValueError(
                "Apply Subjects: attention control found no layer to watch: another node on the model replaced them all. Remove "
                "that node, or set `control_steps` to 0."
            )
        loss = torch.stack(seen.losses).mean()
        (gradient,) = torch.autograd.grad(loss * LOUDER, latents)
        gradients.append(gradient / LOUDER * (level.to(gradient).view(-1, 1, 1, 1) ** 2 + 1))
        losses.append(float(loss.detach()))
    return torch.cat(gradients), losses, layers
