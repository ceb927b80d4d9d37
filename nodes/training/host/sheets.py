"""What a training looks like so far: the curve of its losses, and sets that it paints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

from ...data import pictures
from ...data.mixing import Mixture
from ...data.sources import Source
from ...joint import objective, trained
from ..cache import Cache
from ..loop import Loop
from ..settings import Settings
from .base import Base
from .batches import Batches
from .encoding import Encoder
from .network import Network
from .step import Sets

STEPS, SCALE = 12, 3.0
CURVE = (480, 140)
LINE = 20
SMOOTH = 0.9
SIDE = 160
SEED, MOST_TRIES = 7, 100


def first_sets(base: Base, sources: Sequence[Source], settings: Settings, cache: Path | None) -> Sets:
    """What sheets show of sources: one set, the same in every run, with several pictures where there are such."""
    source = Mixture(sources, SEED)
    batches = Batches(source, Encoder(base, settings, Cache(cache) if cache else None), settings, SEED)
    found = next(batches)
    for _ in range(MOST_TRIES):
        if found.pictures > 1:
            break
        found = next(batches)
    kept = [None if value is None else value[: found.pictures] for value in (found.latents, found.states, found.y, found.null_y)]
    return Sets(kept[0], kept[1], found.null_states, found.pictures, *kept[2:])


def drawn(network: Network, loop: Loop, sets: Sets) -> Image.Image:
    """A sheet of what the running average paints of ``sets``."""
    with loop.averaged():
        painted = paint(network, sets, network.base.schedule, loop.processes.autocast)
    return sheet(network.base, sets, painted)


@torch.no_grad()
def paint(network: Network, sets: Sets, schedule: torch.Tensor, autocast, seed: int = 0) -> torch.Tensor:
    """Latents [B, 4, h, w] of ``sets`` painted anew by DDIM, all but the first picture of each, which is given as a reference.

    Without channels for references all are painted. schedule: the base's. Song et al. (2021), equation 12 with sigma 0.
    """
    device, v = next(network.parameters()).device, network.base.prediction == trained.V
    rows = len(sets.latents)
    missing = torch.ones(rows)
    if network.settings.references and sets.pictures > 1:
        missing[:: sets.pictures] = 0
    noise = torch.randn(sets.latents.shape, generator=torch.Generator().manual_seed(seed))
    times = torch.linspace(len(schedule) - 1, 0, STEPS + 1).long()
    reference = objective.reference_input(sets.latents, missing)
    held = missing[:, None, None, None] == 0
    x = noise.clone()
    for time, after in zip(times[:-1], times[1:], strict=True):
        a, later = schedule[time], schedule[after] if after else torch.ones(())
        x = torch.where(held, objective.add_noise(sets.latents, noise, a.expand(rows)), x)
        given = torch.cat((x, reference), dim=1) if network.settings.references else x
        predicted = []
        for states, y in ((sets.states, sets.y), (sets.null_states.expand(rows, -1, -1), sets.null_y)):
            with autocast():
                out = network(
                    given.to(device), time.float().expand(rows).to(device), states.to(device), sets.pictures,
                    None if y is None else y.to(device),
                )  # fmt: skip
            predicted.append(out.float().cpu())
        guided = predicted[1] + SCALE * (predicted[0] - predicted[1])
        noisy = a.sqrt() * guided + (1 - a).sqrt() * x if v else guided
        clean = (x - (1 - a).sqrt() * noisy) / a.sqrt()
        x = later.sqrt() * clean + (1 - later).sqrt() * noisy
    return torch.where(held, sets.latents, x)


def sheet(base: Base, sets: Sets, painted: torch.Tensor) -> Image.Image:
    """The pictures of ``sets`` above what was painted, one set after another, each no larger than SIDE."""
    rows = [_pictures(base, latents) for latents in (sets.latents, painted)]
    width, height = rows[0][0].size
    shown = Image.new("RGB", (width * len(rows[0]), height * 2))
    for down, row in enumerate(rows):
        for across, picture in enumerate(row):
            shown.paste(picture, (across * width, down * height))
    return shown


def _pictures(base: Base, latents: torch.Tensor) -> list[Image.Image]:
    with torch.no_grad():
        pixels = base.vae.decode(base.patcher.model.process_latent_out(latents)).float().cpu()
    whole = [pictures.as_picture(row) for row in pixels]
    for picture in whole:
        picture.thumbnail((SIDE, SIDE))
    return whole


def curve(losses: Sequence[float], steps: int, first: int = 0) -> Image.Image:
    """Losses of the steps so far, of ``steps``: as they are, and their running mean. first: steps that were done before them."""
    shown = Image.new("RGB", CURVE, (28, 28, 30))
    finite = [value for value in losses if value == value and abs(value) != float("inf")]
    if not finite:
        return shown
    draw = ImageDraw.Draw(shown)
    smooth, means = finite[0], []
    for value in finite:
        smooth = SMOOTH * smooth + (1 - SMOOTH) * value
        means.append(smooth)
    top = sorted(finite)[int(0.98 * (len(finite) - 1))] or 1.0
    across, down = CURVE[0] - 1, CURVE[1] - LINE - 4
    for values, colour, width in ((finite, (80, 84, 96), 1), (means, (120, 200, 255), 2)):
        points = [
            (number / max(1, len(values) - 1) * across, down * (1 - min(1.0, value / top)) + LINE)
            for number, value in enumerate(values)
        ]
        draw.line(points if len(points) > 1 else points * 2, fill=colour, width=width)
    said = f"loss {means[-1]:.4f}, steps {first + 1} to {first + len(losses)} of {steps}"
    draw.text((4, 1), said, fill=(220, 220, 220), font=ImageFont.load_default(LINE - 4))
    return shown


def together(pictures: Sequence[Image.Image]) -> Image.Image:
    """One above another, as wide as the widest."""
    width = max(picture.width for picture in pictures)
    fitted = [picture.resize((width, max(1, round(picture.height * width / picture.width)))) for picture in pictures]
    shown = Image.new("RGB", (width, sum(picture.height for picture in fitted)))
    top = 0
    for picture in fitted:
        shown.paste(picture, (0, top))
        top += picture.height
    return shown
