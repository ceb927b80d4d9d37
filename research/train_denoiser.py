"""Train the demo's denoisers: first on single pictures (4 channels), then on joint sets (9 channels).

The paper starts from Stable Diffusion; here the single-picture model plays that part. It is kept, too:
it never saw a set, so it shows what coupling and replacement do without any training.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch

from ..nodes.joint import objective
from ..nodes.training import coupled
from ..nodes.training import loop as training
from . import nets, world

VIEWS = 4
ROWS = 32
SIZES = (0.1, 0.45, 0.2, 0.25)
"""How often sets of 1 to 4 pictures are."""
CURRICULUM = 2000
FIRST = "input_blocks.0.0.weight"
"""Of the first convolution, in a UNet's state."""


class Latents:
    """A pool of same-subject sets as latents, renewed all the time: unlimited subjects, each met a few times.

    vae: the trained autoencoder. spread(step) in 0..1 says how far apart the poses of a set may be.
    """

    def __init__(self, vae, generator, sets=1024, fresh=2):
        self.vae, self.generator, self.fresh, self.next = vae, generator, fresh, 0
        self.latents = torch.zeros(sets, VIEWS, 4, world.SIZE // nets.FACTOR, world.SIZE // nets.FACTOR)
        self.captions = torch.zeros(sets, VIEWS, dtype=torch.long)
        self.scale = 1.0

    @torch.no_grad()
    def renew(self, count: int, spread: float) -> None:
        """Draw and encode ``count`` new sets over the oldest ones."""
        rows = count * VIEWS
        subject = torch.arange(count).repeat_interleave(VIEWS)
        subjects = world.draw_subjects(count, self.generator)[subject]
        anchor = world.draw_poses(count, self.generator)[subject]
        poses = anchor.towards(world.draw_poses(rows, self.generator), spread)
        scenes = torch.randint(len(world.SCENES), (rows,), generator=self.generator)
        picture, _ = world.draw(subjects, poses, scenes, self.generator)
        mean = encode(self.vae, picture)
        positions = (self.next + torch.arange(count)) % len(self.latents)
        self.latents[positions] = mean.unflatten(0, (count, VIEWS))
        self.captions[positions] = caption_number(subjects.shape, scenes).unflatten(0, (count, VIEWS))
        self.next = int(self.next + count) % len(self.latents)

    def fill(self, spread: float) -> None:
        for _ in range(0, len(self.latents), 8):
            self.renew(8, spread)

    def sample(self, sets: int, pictures: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Scaled latents [S * N, 4, h, w] and caption numbers [S * N]."""
        rows = torch.randint(len(self.latents), (sets,), generator=self.generator)
        views = torch.rand(sets, VIEWS, generator=self.generator).argsort(dim=1)[:, :pictures]
        return (self.latents[rows[:, None], views] * self.scale).flatten(0, 1), self.captions[rows[:, None], views].flatten()


@torch.no_grad()
def encode(vae, picture: torch.Tensor) -> torch.Tensor:
    """The mean latents [B, 4, h, w], not scaled, of pictures [B, 3, H, W] in 0..1."""
    with training.mixed_precision():
        moments = vae.quant_conv(vae.encoder((picture * 2 - 1).to(training.device())))
    return moments.float().cpu().chunk(2, dim=1)[0]


def caption_number(shape: torch.Tensor, scene: torch.Tensor) -> torch.Tensor:
    """The position of a caption in `all_captions`."""
    return shape * len(world.SCENES) + scene


def all_captions() -> list[str]:
    """Every caption of a picture with one toy, in the order of their numbers."""
    return [world.caption(shape, scene) for shape in range(len(world.SHAPES)) for scene in range(len(world.SCENES))]


def tokens_of(texts: Sequence[str]) -> torch.Tensor:
    """Token ids [captions + 1, 77]; the last row is the empty caption."""
    from comfy.sd1_clip import SD1Tokenizer

    tokenizer = SD1Tokenizer()
    rows = [tokenizer.tokenize_with_weights(text)["l"][0] for text in (*texts, "")]
    return torch.tensor([[token for token, _ in row] for row in rows])


def denoise(unet, noisy, timestep, text_states, captions, pictures) -> torch.Tensor:
    """The predicted noise [B, C, H, W] on the CPU, for CPU inputs; sets of ``pictures`` are coupled."""
    device = training.device()
    with training.mixed_precision():
        states = text_states[captions.to(device)]
        predicted = unet(noisy.to(device), timestep.float().to(device), states, transformer_options=coupled.options(pictures))
    return predicted.float().cpu()


def loss(unet, text_states, latents, captions, pictures, schedule, generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Equation 1 (4 channels) or 2 (9 channels): squared error of the noise, on all rows.

    text_states: [captions + 1, 77, D]. Returns the loss, the squared error of each row and M, both [B].
    """
    batch = objective.draw_batch(latents, pictures, schedule, generator)
    chosen = torch.where(batch.captioned > 0, captions, text_states.shape[0] - 1)

    def predict(x: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        return denoise(unet, x, timestep, text_states, chosen, pictures)

    error = objective.loss(predict, batch, references=unet.in_channels == 9)
    return error.mean(), error.detach(), batch.missing


def widen(single: dict, joint: torch.nn.Module) -> None:
    """Start the 9-channel model as the 4-channel one: the five new input channels have zero weights."""
    from ..nodes.training.host.base import widened

    joint.load_state_dict({**single, FIRST: widened(single[FIRST], None)})


def copying(unet, text_states, pool, schedule) -> float:
    """How much the right reference helps: error with another subject's reference over error with its own, less 1.

    Pairs at a high noise level; 0 means that references are ignored.
    """
    own, others = reference_errors(unet, text_states, pool, schedule).mean(dim=1)
    return (others / own - 1).item()


@torch.no_grad()
def reference_errors(unet, text_states, pool, schedule) -> torch.Tensor:
    """Errors [2, S] of the picture to generate of each pair, with its own reference and with another subject's."""
    generator = torch.Generator().manual_seed(99)
    latents, captions = pool
    sets = latents.shape[0] // 2
    noise = torch.randn(latents.shape, generator=generator)
    timestep = torch.full((latents.shape[0],), 700)
    noisy = objective.add_noise(latents, noise, schedule[timestep])
    missing = torch.tensor([1.0, 0.0]).repeat(sets)
    errors = []
    for shift in (0, 1):
        own, others = torch.arange(0, 2 * sets, 2), torch.arange(1, 2 * sets, 2).roll(shift)
        rows = torch.stack((own, others), dim=1).flatten()
        x = torch.cat((noisy[rows], objective.reference_input(latents[rows], missing)), dim=1)
        predicted = denoise(unet, x, timestep, text_states, captions[rows], 2)
        errors.append((predicted - noise[rows])[::2].square().mean(dim=(1, 2, 3)))
    return torch.stack(errors)


def load_vae(folder: str) -> torch.nn.Module:
    vae = nets.autoencoder()
    vae.load_state_dict(torch.load(Path(folder) / "vae.pt", map_location="cpu", weights_only=True)["average"]["net"])
    return vae.eval().requires_grad_(False).to(training.device())


def train(folder: str, kind: str, steps: int, rate: float, seed: int = 0) -> None:
    """Train ``single`` or ``joint`` for ``steps``; state in ``<folder>/<kind>.pt``; resumable."""
    joint = kind == "joint"
    unet = nets.unet({**nets.UNET, "in_channels": 9 if joint else 4})
    text = nets.text_encoder()
    if joint:
        single = torch.load(Path(folder) / "single.pt", map_location="cpu", weights_only=True)["average"]
        widen(single["unet"], unet)
        text.load_state_dict(single["text"])
    loop = training.Loop(folder, kind, {"unet": unet, "text": text}, rate, steps, seed)
    pool = Latents(load_vae(folder), loop.generator)
    spread = (lambda step: min(1.0, step / CURRICULUM)) if joint else (lambda step: 1.0)
    pool.fill(spread(loop.done))
    pool.scale = 1 / scale_of(folder, pool)
    tokens, schedule = tokens_of(all_captions()), objective.sd_alphas_cumprod().float()
    held_out = Latents(pool.vae, torch.Generator().manual_seed(7), sets=32)
    held_out.fill(1.0)
    held_out.scale = pool.scale
    held_out = held_out.sample(32, 2)
    sizes = torch.tensor(SIZES) if joint else torch.tensor([1.0])
    for step in loop:
        pool.renew(pool.fresh, spread(step))
        pictures = 1 + int(torch.multinomial(sizes, 1, generator=loop.generator))
        latents, captions = pool.sample(ROWS // pictures, pictures)
        states = nets.text_states(text, tokens.to(training.device()))
        value, rows, missing = loss(unet, states, latents, captions, pictures, schedule, loop.generator)
        figures = {"loss": value.item()}
        if joint and pictures > 1:
            figures["missing"] = rows[missing > 0].mean().item() if missing.any() else math.nan
        if joint and step % 200 == 199:
            figures["copying"] = copying(unet, states, held_out, schedule)
        loop.learn(value, figures)


def scale_of(folder: str, pool: Latents | None = None) -> float:
    """Standard deviation of the latents, measured once on ``pool`` and kept in ``scale.txt`` for every later run."""
    path = Path(folder) / "scale.txt"
    if pool is not None and not path.exists():
        path.write_text(str(pool.latents.std().item()))
    return float(path.read_text())
