"""Training one arm: from the model of single pictures, for the same number of steps and of pictures a step as every other."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

from ...nodes.data.whole_files import whole
from ...nodes.demo import config as demo_config
from ...nodes.demo import stored
from ...nodes.demo.host import model as demo_model
from ...nodes.host import weights
from ...nodes.joint import objective, settings
from ...nodes.joint.trained import ORDER_KEY
from ...nodes.subject.host import files as subject_files
from ...nodes.subject.host import loading
from ...nodes.training import loop as training
from ...nodes.training.host import base
from .. import export, image_encoder, nets, train_denoiser
from . import encoders
from .arms import ARMS, CLIP, Arm
from .sets import Pool, Sample

RATE = 6e-4
ROWS = train_denoiser.ROWS
SIZES = torch.tensor(train_denoiser.SIZES)
HIDDEN, HIDDEN_WITH_TEXT = 0.1, 0.5
"""How often a baseline's reference is left out, where the text stays and where it is left out, too."""
SHOWN = "shown."
"""Where the weights of an arm's image encoder stand in its file."""


def slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def file_of(folder: Path, name: str, steps: int) -> Path:
    """Where an arm is, once it is trained for ``steps``."""
    return folder / f"{slug(name)}-{steps}.safetensors"


def steps_done(folder: Path, name: str, steps: int) -> int:
    """How many of its ``steps`` an arm has behind it."""
    if file_of(folder, name, steps).is_file():
        return steps
    state = file_of(folder, name, steps).with_suffix(".pt")
    return torch.load(state, map_location="cpu", weights_only=True, mmap=True)["done"] if state.is_file() else 0


@dataclass(frozen=True, eq=False)
class Start:
    """Where every arm begins: the model of single pictures, its VAE, and the demo's encoder of cut-outs."""

    unet: dict
    text: dict
    vae: torch.nn.Module
    scale: float
    encoder: torch.nn.Module

    @classmethod
    def load(cls) -> Start:
        patcher, clip, vae = demo_model.load(export.FILES["single"])
        encoder = loading.load(subject_files.DEMO_FILE, clip=clip).image_encoder.model
        return cls(
            patcher.model.diffusion_model.state_dict(),
            clip.cond_stage_model.clip_l.transformer.state_dict(),
            vae.first_stage_model.eval().requires_grad_(False).to(training.device()),
            demo_model.describe(export.FILES["single"]).latent_scale,
            encoder.float().eval().requires_grad_(False).to(training.device()),
        )

    def encode(self, pictures: torch.Tensor) -> torch.Tensor:
        """Scaled latents of pictures [B, 3, H, W]."""
        return train_denoiser.encode(self.vae, pictures) * self.scale

    @torch.no_grad()
    def embed(self, shown: torch.Tensor) -> torch.Tensor:
        """Embeddings [B, E] of cut-outs, see `image_encoder.prepared`."""
        return image_encoder.encode(self.encoder, shown.to(training.device()))[0].float().cpu()

    def networks(self, arm: Arm) -> dict[str, torch.nn.Module]:
        """What is trained of an arm."""
        wide = arm.coupled or arm.concatenated
        unet, text = nets.unet({**nets.UNET, "in_channels": 9 if wide else 4}), nets.text_encoder()
        if wide:
            train_denoiser.widen(self.unet, unet)
            if arm.coupled:  # from zero, references were not found in 1,000 steps
                base.show_references(unet.state_dict()[train_denoiser.FIRST])
        else:
            unet.load_state_dict(self.unet)
        text.load_state_dict(self.text)
        shown = encoders.made(arm)
        return {"unet": unet, "text": text} | ({} if shown is None else {"shown": shown})


def loss(
    arm: Arm, networks: Mapping, states: torch.Tensor, sample: Sample, pictures: int, schedule, generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Equation 2 for a joint-image model; equation 1 with another picture of the set as reference for a baseline.

    Departure, as for subjects: timesteps in proportion to themselves, errors weighed as in the loss of v, up to a bound. states:
    of every caption, then of none, [captions + 1, 77, D]. Returns the loss, and the error of rows that are made from a reference
    alone: NaN where there are none.
    """
    batch = objective.draw_batch(sample.latents, pictures, schedule, generator, high_noise=True)
    texts = states[torch.where(batch.captioned > 0, sample.captions, len(states) - 1).to(states.device)]
    seen, given = reference_of(arm, batch, pictures, generator)
    if arm.encoder:
        shows = (sample.embeddings if arm.encoder == CLIP else sample.latents)[seen]
        with training.mixed_precision():
            tokens = networks["shown"](shows.to(texts.device), given.to(texts.device))
        texts = torch.cat((texts, tokens.to(texts)), dim=1)

    def predict(x: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        if arm.concatenated:
            x = torch.cat((x, concatenated(sample.latents[seen], given)), dim=1)
        rows = torch.arange(len(x))
        return train_denoiser.denoise(networks["unet"], x, timestep, texts, rows, pictures if arm.coupled else 1)

    errors = objective.loss(predict, batch, references=arm.coupled)
    from_reference = (batch.missing > 0) & (pictures > 1) if arm.coupled else given
    weights = objective.high_noise_weights(batch.alphas_cumprod)
    return (weights * errors).mean(), errors.detach()[from_reference].mean()


def reference_of(arm: Arm, batch: objective.Batch, pictures: int, generator) -> tuple[torch.Tensor, torch.Tensor]:
    """For each row the row whose picture is its reference, and whether it has one: [B] each.

    A joint-image model's image encoder sees the first picture of the set that is given; a baseline the next one of the set.
    """
    rows = torch.arange(len(batch.missing))
    hidden = torch.where(batch.captioned > 0, HIDDEN, HIDDEN_WITH_TEXT)
    given = torch.rand(len(rows), generator=generator) >= hidden
    first = rows // pictures * pictures
    if arm.coupled:
        known = 1 - batch.missing.unflatten(0, (-1, pictures))
        seen = first + known.argmax(dim=1).repeat_interleave(pictures)
        return seen, (given & known.any(dim=1).repeat_interleave(pictures))[first]
    return first + (rows - first + 1) % pictures, given & (pictures > 1)


def concatenated(latents: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
    """A reference as stock inpainting models take it, so that stock conditioning can carry it: mask, picture [B, 5, h, w]."""
    kept = given.to(latents)[:, None, None, None]
    return torch.cat(((1 - kept).expand(-1, 1, *latents.shape[-2:]), latents * kept), dim=1)


def train(folder: Path, name: str, steps: int, start: Start, kept: int = 1024) -> None:
    """Train an arm for ``steps`` and write its file; a run that was stopped goes on."""
    arm = ARMS[name]
    networks = start.networks(arm)
    loop = training.Loop(folder, f"{slug(name)}-{steps}", networks, RATE, steps, seed=0)
    embed = start.embed if arm.encoder == CLIP else None
    pool = Pool(arm, start.encode, embed, lambda step: 1.0, kept)
    if loop.done < steps:
        pool.fill(loop.done)
    held_out = Pool(ARMS["JeDi"], start.encode, None, lambda step: 1.0, 32) if arm.coupled and not arm.encoder else None
    watched = None
    if held_out:
        held_out.fill(HELD_OUT)
        sample = held_out.sample(32, 2, torch.Generator().manual_seed(7))
        watched = (sample.latents, sample.captions)
    tokens, schedule = train_denoiser.tokens_of(train_denoiser.all_captions()), objective.sd_alphas_cumprod().float()
    for step in loop:
        pool.renew(step)
        pictures = 1 + int(torch.multinomial(SIZES, 1, generator=loop.generator))
        sample = pool.sample(ROWS // pictures, pictures, loop.generator)
        states = nets.text_states(networks["text"], tokens.to(training.device()))
        value, from_reference = loss(arm, networks, states, sample, pictures, schedule, loop.generator)
        figures = {"loss": value.item()}
        if from_reference.isfinite():
            figures["from_reference"] = from_reference.item()
        if watched and step % 100 == 99:
            figures["copying"] = train_denoiser.copying(networks["unet"], states, watched, schedule)
        loop.learn(value, figures)
    write(file_of(folder, name, steps), name, steps, loop.average)


HELD_OUT = 2_000_000
"""A step that no training comes to: the pool before it holds sets that none has met."""


def write(path: Path, name: str, steps: int, trained: Mapping[str, dict]) -> None:
    """An arm as a checkpoint of the demo's form, which the pack's own loader reads; its VAE stays in the demo's file."""
    arm, metadata = ARMS[name], weights.read_metadata(export.FILES["single"])
    config = json.loads(metadata[demo_config.KEY])
    config["unet"]["in_channels"] = trained["unet"][train_denoiser.FIRST].shape[1]
    metadata |= {demo_config.KEY: json.dumps(config), "same_subject.ablation": json.dumps({"arm": name, "steps": steps})}
    if arm.coupled:
        metadata[ORDER_KEY] = settings.CHANNEL_ORDERS[0]
    prefixes = {
        "unet": demo_config.PREFIXES["unet"],
        "text": demo_config.PREFIXES["clip"] + "transformer.",
        "shown": SHOWN,
    }
    state = {prefixes[part] + key: value for part, held in trained.items() for key, value in held.items()}
    words = train_denoiser.tokens_of(train_denoiser.all_captions()).unique()
    state[stored.WORDS] = state[stored.WORDS][words]
    state[stored.WORDS + stored.ROWS] = words.int()
    with whole(path) as part:
        save_file({key: value.cpu().contiguous() for key, value in state.items()}, part, metadata)
