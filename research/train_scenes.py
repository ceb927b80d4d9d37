"""Train the demo of scenes: the single-picture model goes on with pictures of two toys, and with identities.

The adapter has InstantID's layout and is trained together with the UNet: a toy's embedding, taken from another picture
of it, says what it looks like; the caption says shapes and scene. As InstantID's, it never sees two identities at
once, nor a mask: a picture of two toys with an identity shows that identity's looks twice.
"""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.nn.functional as F

from ..nodes.demo.toys import FEATURES, Finder
from ..nodes.identity import adapter as adapters
from ..nodes.identity import placement
from ..nodes.identity.host import sampling as identity_sampling
from ..nodes.identity.resampler import Resampler
from ..nodes.joint import objective
from ..nodes.training import coupled
from ..nodes.training import loop as training
from . import finder as finders
from . import nets, train_denoiser, world

TOKENS, WIDTH, DEPTH = 4, 64, 2
ROWS, FRESH = 24, 2
NO_IDENTITY, NO_ADAPTER, NO_TEXT = 0.25, 0.4, 0.1
"""Of all rows, those without an identity; of these, those without the adapter; of all rows, those without a caption."""


def adapter(unet: torch.nn.Module, seed: int = 4) -> adapters.Adapter:
    """InstantID's networks, made small, for the cross-attention layers of ``unet``."""
    torch.manual_seed(seed)
    resampler = Resampler(WIDTH, DEPTH, TOKENS, FEATURES, nets.UNET["context_dim"], 4 * WIDTH)
    torch.nn.init.normal_(resampler.latents, std=WIDTH**-0.5)
    return adapters.Adapter(resampler, nets.UNET["context_dim"], [layer.channels for layer in layers_of(unet)])


def layers_of(unet: torch.nn.Module) -> list[adapters.Layer]:
    """The cross-attention layers of a bare UNet, in the adapter's order."""
    return identity_sampling.cross_attention_layers(SimpleNamespace(model=SimpleNamespace(diffusion_model=unet)))


def identity_patches(unet, adapter: adapters.Adapter, embedding: torch.Tensor, strength: torch.Tensor) -> dict:
    """Transformer options that add identities [B, FEATURES] with ``strength`` [B] in every cross-attention layer."""
    tokens, share = adapter.image_proj(embedding[:, None]), strength[:, None, None]
    patches = {}
    for layer, pair in zip(layers_of(unet), adapter.ip_adapter.values(), strict=True):

        def cross(q, k, v, options, pair=pair):
            def attend(q, k, v):
                return coupled.attend(q, k, v, options["n_heads"])

            face = pair.to_k_ip(tokens), pair.to_v_ip(tokens), share.to(q)
            return placement.add_identities(attend(q, k, v), q, [face], attend)

        patches[layer.block] = cross

    def alone(q, k, v, options):
        return coupled.attend(q, k, v, options["n_heads"])

    return {"patches_replace": {"attn1": dict.fromkeys(patches, alone), "attn2": patches}}


class Pool:
    """Latents, captions and identities of pictures with ``toys`` toys (1 or 2), renewed all the time.

    Rows with `identity` show one look; the embedding is taken from another picture of it.
    """

    def __init__(self, toys: int, vae, finder: Finder, generator: torch.Generator, size: int):
        self.toys, self.vae, self.finder, self.generator, self.next = toys, vae, finder, generator, 0
        side = world.SIZE // nets.FACTOR
        self.latents = torch.zeros(size, 4, side, toys * side)
        self.captions, self.present = torch.zeros(size, dtype=torch.long), torch.zeros(size)
        self.embeddings = torch.zeros(size, FEATURES)

    @torch.no_grad()
    def renew(self, count: int) -> None:
        generator = self.generator
        scenes = torch.randint(len(world.SCENES), (count,), generator=generator)
        present = torch.rand(count, generator=generator) >= NO_IDENTITY
        toys = world.draw_subjects(count, generator)
        if self.toys == 1:
            picture, _ = world.draw(toys, world.draw_poses(count, generator), scenes, generator)
            captions = train_denoiser.caption_number(toys.shape, scenes)
        else:
            other = world.draw_subjects(count, generator)
            twins = replace(toys, shape=other.shape)
            other = world.Subjects(*(_where(present, *(getattr(s, f.name) for s in (twins, other))) for f in fields(other)))
            picture, _ = world.draw_pairs(toys, other, scenes, generator)
            captions = pair_number(toys.shape, other.shape, scenes)
        shown = torch.randint(len(world.SCENES), (count,), generator=generator)
        view, mask = world.draw(toys, world.draw_poses(count, generator), shown, generator)
        rows = (torch.arange(count) + self.next) % len(self.latents)
        self.latents[rows] = train_denoiser.encode(self.vae, picture)
        self.captions[rows], self.present[rows] = captions, present.float()
        self.embeddings[rows] = self.finder.embed(*finders.squares(view.to(training.device()), mask.to(training.device()))).cpu()
        self.next = int(self.next + count) % len(self.latents)

    def fill(self) -> None:
        for _ in range(0, len(self.latents), 32):
            self.renew(32)

    def sample(self, rows: int) -> tuple[torch.Tensor, ...]:
        """Latents [B, 4, h, w], caption numbers [B], embeddings [B, FEATURES], presence [B]."""
        picks = torch.randint(len(self.latents), (rows,), generator=self.generator)
        return self.latents[picks], self.captions[picks], self.embeddings[picks], self.present[picks]


def _where(condition: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.where(condition.view(-1, *[1] * (a.ndim - 1)), a, b)


SINGLES = len(world.SHAPES) * len(world.SCENES)


def pair_number(first: torch.Tensor, second: torch.Tensor, scene: torch.Tensor) -> torch.Tensor:
    """The caption of two toys, counted after those of one toy (`all_captions`)."""
    return SINGLES + train_denoiser.caption_number(first * len(world.SHAPES) + second, scene)


def all_captions() -> list[str]:
    """All captions of one toy and of two, in the order of their numbers."""
    shapes, scenes = range(len(world.SHAPES)), range(len(world.SCENES))
    pairs = [world.pair_caption(one, other, scene) for one in shapes for other in shapes for scene in scenes]
    return [*train_denoiser.all_captions(), *pairs]


def denoise(networks: dict, noisy, timestep, text, embedding, strength) -> torch.Tensor:
    """The predicted noise [B, 4, h, w] on the CPU, with identities [B, FEATURES] at ``strength`` [B]. text: states [B, 77, D]."""
    device = training.device()
    with training.mixed_precision():
        options = identity_patches(networks["unet"], networks["adapter"], embedding.to(device), strength.to(device))
        predicted = networks["unet"](noisy.to(device), timestep.float().to(device), text, transformer_options=options)
    return predicted.float().cpu()


def loss(networks: dict, states: torch.Tensor, batch: tuple, schedule: torch.Tensor, generator) -> tuple:
    """Squared error of the noise on all rows, and that of rows with an identity. states: [captions + 1, 77, D]."""
    latents, captions, embedding, present = batch
    rows = len(latents)
    # Looks are decided at high noise: a timestep is drawn in proportion to itself.
    timestep = (torch.rand(rows, generator=generator).sqrt() * len(schedule)).long()
    noise = torch.randn(latents.shape, generator=generator)
    noisy = objective.add_noise(latents, noise, schedule[timestep])
    silent = torch.rand(rows, generator=generator) < NO_TEXT
    present = present * ~(silent & (torch.rand(rows, generator=generator) < 0.5))
    plain = (present == 0) & (torch.rand(rows, generator=generator) < NO_ADAPTER)
    text = states[torch.where(silent, len(states) - 1, captions).to(training.device())]
    predicted = denoise(networks, noisy, timestep, text, embedding * present[:, None], (~plain).float())
    error = (predicted - noise).square().mean(dim=(1, 2, 3))
    return error.mean(), error.detach()[present > 0]


@torch.no_grad()
def following(networks: dict, states, batch, schedule) -> float:
    """How much the right identity helps at a high noise level: error with another's over error with its own, less 1."""
    latents, captions, embedding, present = (part[batch[3] > 0] for part in batch)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(99))
    timestep = torch.full((len(latents),), 700)
    noisy, text = objective.add_noise(latents, noise, schedule[timestep]), states[captions.to(training.device())]
    own, other = (
        F.mse_loss(denoise(networks, noisy, timestep, text, identity, present), noise)
        for identity in (embedding, embedding.roll(1, dims=0))
    )
    return (other / own - 1).item()


def train(folder: str, steps: int, rate: float, seed: int = 0) -> None:
    """Train for ``steps``; state in ``<folder>/scene.pt``; resumable. Starts from the stages `single` and `finder`."""
    unet, text = nets.unet({**nets.UNET, "in_channels": 4}), nets.text_encoder()
    single = torch.load(Path(folder) / "single.pt", map_location="cpu", weights_only=True)["average"]
    unet.load_state_dict(single["unet"])
    text.load_state_dict(single["text"])
    networks = {"unet": unet, "text": text, "adapter": adapter(unet)}
    loop = training.Loop(folder, "scene", networks, rate, steps, seed)
    vae, finder, scale = train_denoiser.load_vae(folder), finders.load(folder), 1 / train_denoiser.scale_of(folder)
    pools = [Pool(toys, vae, finder, loop.generator, size) for toys, size in ((1, 2048), (2, 1024))]
    held_out = Pool(1, vae, finder, torch.Generator().manual_seed(7), 96)
    for pool in (*pools, held_out):
        pool.fill()
    tokens = train_denoiser.tokens_of(all_captions())
    schedule = objective.sd_alphas_cumprod().float()

    def batch_of(pool: Pool, rows: int) -> tuple:
        latents, *rest = pool.sample(rows)
        return latents * scale, *rest

    held_out = batch_of(held_out, 64)
    for step in loop:
        for pool in pools:
            pool.renew(FRESH)
        pool, rows = (pools[0], ROWS) if torch.rand((), generator=loop.generator) < 0.5 else (pools[1], ROWS // 2)
        states = nets.text_states(text, tokens.to(training.device()))
        value, with_identity = loss(networks, states, batch_of(pool, rows), schedule, loop.generator)
        figures = {"loss": value.item(), "identity": with_identity.mean().item()}
        if step % 200 == 199:
            figures["following"] = following(networks, states, held_out, schedule)
        loop.learn(value, figures)
