"""Train the small KL autoencoder on pictures of the demo world (reconstruction, edges, a little KL)."""

from __future__ import annotations

import torch

from ..nodes.training import loop as training
from . import nets, world


def pictures(count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """``count`` random pictures [B, 3, H, W] in -1..1 and the masks of their subjects [B, 1, H, W]."""
    scenes = torch.randint(len(world.SCENES), (count,), generator=generator)
    picture, mask = world.draw(world.draw_subjects(count, generator), world.draw_poses(count, generator), scenes, generator)
    return picture * 2 - 1, mask


def loss(net: torch.nn.Module, picture: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, dict]:
    """Absolute and squared error (three times as much on the subject), error of the edges, 1e-5 KL."""
    mean, log_variance = net.quant_conv(net.encoder(picture)).float().chunk(2, dim=1)
    log_variance = log_variance.clamp(-20, 10)
    latent = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
    shown = net.decoder(net.post_quant_conv(latent)).float()
    difference = (shown - picture) * (1 + 2 * mask)
    error, squared = difference.abs().mean(), difference.square().mean()
    edges = sum((shown.diff(dim=d) - picture.diff(dim=d)).abs().mean() for d in (2, 3))
    kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
    return error + edges + squared + 1e-5 * kl, {
        "l1": error.item(),
        "mse": squared.item(),
        "kl": kl.item(),
        "std": mean.std().item(),
    }


def train(folder: str, steps: int, batch: int = 16, rate: float = 1e-3, seed: int = 0) -> None:
    """Train for ``steps`` and keep ``vae.pt`` in ``folder``; starts again where an earlier run stopped."""
    net = nets.autoencoder()
    loop = training.Loop(folder, "vae", {"net": net}, rate, steps, seed)
    for _ in loop:
        picture, mask = (t.to(training.device()) for t in pictures(batch, loop.generator))
        with training.mixed_precision():
            value, figures = loss(net, picture, mask)
        loop.learn(value, figures)
