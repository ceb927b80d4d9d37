"""Train the demo's Subject-Diffusion: networks that let the model of scenes paint toys as their pictures show them (equation 3).

As the authors train: the layers between self- and cross-attention, keys and values of cross-attention, the first convolution
with the location channel, the text encoder; the rest of the UNet and the image encoder stay. Departure: where the text and the
location are left out together, subjects are left out too in half of the rows, so that guidance's null branch is trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from ..nodes.joint import objective
from ..nodes.subject import adapter as adapters
from ..nodes.subject import attention_maps, where
from ..nodes.training import coupled
from ..nodes.training import loop as training
from . import export, image_encoder, nets, subject_data, train_denoiser, train_scenes
from .subject_data import SLOTS, Batch, Pool, Texts

TOKENS = 64
ROWS, WIDE_ROWS, FRESH = 24, 16, 3
NO_TEXT, NO_SUBJECTS, NO_LOCATION = 0.10, (0.075, 0.10), (0.05, 0.15)
"""Of one number in 0 to 1 a row: below the first there is no text, within the others no subjects and no location channel."""
ATTENTION, EARLY, FALLEN = 0.01, 0.5, 0.8
"""λ of equation 3 at the end, and so much more in the beginning, which has fallen away after that share of the steps.

Departure: to attend to a word in its own box a layer must know which subject's box it is in, and this says so with less noise.
"""
ONE, WIDE = 0.3, 0.2
"""Of all steps, those on pictures with one toy: which of two goes where is what takes longest. Of these, on wide ones."""


@dataclass(frozen=True)
class Recipe:
    """What is trained. own: subjects are cut out of the target itself, as the paper does; else out of another view.

    The others leave one part out each: table 3's (c) to (g).
    """

    own: bool = False
    location: bool = True
    boxes: bool = True
    adapter: bool = True
    attention: bool = True
    cls: bool = True


RECIPES = {
    "other view": Recipe(),
    "own cut-out": Recipe(own=True),
    "without location": Recipe(location=False),
    "without boxes": Recipe(boxes=False),
    "without adapter": Recipe(adapter=False),
    "without attention": Recipe(attention=False),
    "without CLS": Recipe(cls=False),
}
"""The first is what ships."""


def sizes(unet: torch.nn.Module) -> adapters.Sizes:
    """Of the networks for the demo's model of scenes."""
    layers = tuple((layer.channels, layer.channels // nets.UNET["num_head_channels"]) for layer in layers_of(unet))
    encoder = image_encoder.CONFIG
    words, context = {"l": nets.CLIP["hidden_size"]}, nets.UNET["context_dim"]
    return adapters.Sizes(
        words,
        encoder["projection_dim"],
        encoder["hidden_size"],
        image_encoder.PATCHES,
        TOKENS,
        context,
        layers,
        nets.UNET["model_channels"],
    )


def layers_of(unet: torch.nn.Module) -> list:
    """The UNet's blocks in its own order."""
    order = {"input": 0, "middle": 1, "output": 2}
    return sorted(train_scenes.layers_of(unet), key=lambda layer: (order[layer.block[0]], layer.block[1], layer.index))


def begin(unet: torch.nn.Module, seed: int) -> adapters.Networks:
    """Networks that change nothing yet: closed gates, the UNet's own keys, values and convolution, no weight of the location."""
    torch.manual_seed(seed)
    networks = adapters.Networks(sizes(unet))
    torch.nn.init.normal_(networks.proj.null_image_feature, std=0.02)
    torch.nn.init.normal_(networks.proj.null_position_feature, std=0.02)
    state, blocks = unet.state_dict(), {"input": "input_blocks.{}.", "output": "output_blocks.{}.", "middle": "middle_block."}
    with torch.no_grad():
        for layer, texts in zip(layers_of(unet), networks.attn2, strict=True):
            begins = blocks[layer.block[0]].format(layer.block[1])
            for name, own in (("to_k", texts.to_k), ("to_v", texts.to_v)):
                key = f".transformer_blocks.{layer.index}.attn2.{name}.weight"
                own.weight.copy_(next(v for k, v in state.items() if k.startswith(begins) and k.endswith(key)))
        networks.conv_in.weight.zero_()
        networks.conv_in.weight[:, : adapters.LATENT] = state["input_blocks.0.0.weight"]
        networks.conv_in.bias.copy_(state["input_blocks.0.0.bias"])
    return networks


class Base:
    """The demo's model of scenes: what is trained on top of it, and what stays."""

    def __init__(self):
        from ..nodes.demo.host import model

        patcher, clip, vae = model.load(export.FILES["scene"])
        self.unet, self.text = nets.unet({**nets.UNET, "in_channels": adapters.LATENT}), nets.text_encoder()
        self.unet.load_state_dict(patcher.model.diffusion_model.state_dict())
        self.text.load_state_dict(clip.cond_stage_model.clip_l.transformer.state_dict())
        self.vae = vae.first_stage_model.eval().requires_grad_(False).to(training.device())
        self.scale = model.describe(export.FILES["scene"]).latent_scale
        self.unet.requires_grad_(False).to(training.device())

    def encode(self, picture: torch.Tensor) -> torch.Tensor:
        """Scaled latents of pictures."""
        return train_denoiser.encode(self.vae, picture) * self.scale


@torch.no_grad()
def look(encoder: torch.nn.Module, shown: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings and patch tokens of cut-outs, as a `subject_data.Look` gives them."""
    with training.mixed_precision():
        embedding, patches = image_encoder.encode(encoder, shown.to(training.device()))
    return embedding.float().cpu(), patches.float().cpu()


def text_states(text: torch.nn.Module, tokens: torch.Tensor, places: torch.Tensor, words: torch.Tensor | None) -> torch.Tensor:
    """States [B, 77, D] of tokens [B, 77] with ``words`` [B, K, D] at ``places`` [B, K], those at -1 left out."""
    embedded = text.text_model.embeddings.token_embedding(tokens)
    if words is not None:
        row, subject = (places[:, : words.shape[1]] >= 0).nonzero(as_tuple=True)
        embedded = embedded.index_put((row, places[row, subject]), words[row, subject].to(embedded))
    return nets.text_states(text, embedded=embedded)


@dataclass(frozen=True, eq=False)
class Given:
    """What the UNet is given of each row beside its noise. text: states [B, 77, D]. tokens: of subjects, [B, T, width].

    location: [B, 1, h, w]. watched: positions of words whose attention is kept, [B, W], or None.
    """

    text: torch.Tensor
    tokens: torch.Tensor
    location: torch.Tensor
    watched: torch.Tensor | None = None


def denoise(unet, networks: adapters.Networks, recipe: Recipe, noisy, timestep, given: Given) -> tuple[torch.Tensor, dict]:
    """The noise [B, 4, h, w] that is in ``noisy``, and by (height, width) the attention to watched words, [B, W, L] a layer."""
    attended: dict[tuple[int, int], list[torch.Tensor]] = {}
    numbers = {(layer.block, layer.index): number for number, layer in enumerate(layers_of(unet))}

    def kernel(q, k, v, heads):
        return coupled.attend(q, k, v, heads)

    def middle(x, options):
        layer = networks.layers[numbers[options["block"], options["block_index"]]]
        return layer(x, layer.subjects(given.tokens), 1.0, kernel)

    def cross(q, k, v, options):
        texts, heads = networks.attn2[numbers[options["block"], options["block_index"]]], options["n_heads"]
        q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, texts.to_k(given.text), texts.to_v(given.text)))
        shares = (q * q.shape[-1] ** -0.5 @ k.mT).softmax(dim=-1)
        size = tuple(options["activations_shape"][-2:])
        if given.watched is not None and size[0] < noisy.shape[-2]:
            words = given.watched[:, None, None].expand(-1, 1, shares.shape[2], -1)
            attended.setdefault(size, []).append(shares.mean(dim=1, keepdim=True).gather(3, words)[:, 0].mT)
        return (shares.to(v.dtype) @ v).transpose(1, 2).flatten(2)

    def alone(q, k, v, options):
        return kernel(q, k, v, options["n_heads"])

    def first(h, options):
        return networks.conv_in(torch.cat((noisy, given.location), dim=1)) if options["block"] == ("input", 0) else h

    blocks = {layer.block for layer in layers_of(unet)}
    options = {
        "patches": {"input_block_patch": [first], **({"middle_patch": [middle]} if recipe.adapter else {})},
        "patches_replace": {"attn1": dict.fromkeys(blocks, alone), "attn2": dict.fromkeys(blocks, cross)},
    }
    with training.mixed_precision():
        return unet(noisy, timestep.float(), given.text, transformer_options=options).float(), attended


def given(text, networks: adapters.Networks, recipe: Recipe, texts: Texts, batch: Batch, chance: torch.Tensor) -> Given:
    """What each row of a batch is given. chance: a number in 0 to 1 a row, see NO_TEXT."""
    device = training.device()
    with training.mixed_precision():
        tokens, at = texts.tokens[batch.texts].clone(), texts.places[batch.texts].clone()
        silent = chance < NO_TEXT
        tokens[silent], at[silent] = texts.tokens[-1], -1
        words = networks.mlp["l"](batch.cls.to(device)) if recipe.cls else None
        states = text_states(text, tokens.to(device), at.to(device), words)
        shown = networks.proj(batch.patches.to(device).float(), batch.boxes.to(device) if recipe.boxes else None)
        absent = networks.proj.absent(SLOTS - batch.cls.shape[1], shown)
        shown = torch.cat((shown, absent.expand(len(shown), -1, -1)), dim=1)
        present = ~((chance >= NO_SUBJECTS[0]) & (chance < NO_SUBJECTS[1]))
        shown = shown * present.to(shown)[:, None, None]
    location = torch.cat([where.channel(boxes.tolist(), *batch.latents.shape[-2:]) for boxes in batch.boxes])
    located = ~((chance >= NO_LOCATION[0]) & (chance < NO_LOCATION[1]))
    if not recipe.location:
        located[:] = False
    location = (location * located[:, None, None, None]).to(device)
    shown_at = texts.places[batch.texts][:, : batch.cls.shape[1]]
    watched = torch.cat((shown_at, shown_at - 2), dim=1).clamp(min=0).to(device)
    return Given(states, shown, location, watched)


def loss(
    base: Base, networks, recipe: Recipe, texts: Texts, batch: Batch, schedule, generator, attention: float = ATTENTION
) -> tuple[torch.Tensor, dict]:
    """Equation 3. attention: λ."""
    rows, device = len(batch.texts), training.device()
    chance = torch.rand(rows, generator=generator)
    # Looks, and which toy has which, are decided at high noise: a timestep is drawn in proportion to itself, and weighs so much
    # as in the loss of v, up to a bound. Departure from equation 3, where all weigh alike.
    timestep = objective.high_timesteps(rows, len(schedule), generator)
    noise = torch.randn(batch.latents.shape, generator=generator)
    noisy = objective.add_noise(batch.latents, noise, schedule[timestep]).to(device)
    shown = given(networks["text"], networks["adapter"], recipe, texts, batch, chance)
    predicted, attended = denoise(base.unet, networks["adapter"], recipe, noisy, timestep.to(device), shown)
    weight = objective.high_noise_weights(schedule[timestep]).to(device)[:, None, None, None]
    error = (weight * (predicted - noise.to(device)).square()).mean()
    spoken = chance >= NO_TEXT
    maps = torch.stack(
        [
            attention_maps.balanced(
                layer.unflatten(1, (2, -1)).transpose(1, 2).float(), attention_maps.at_size(batch.inside, *size).to(device)
            )[spoken.to(device)].mean()
            for size, layers in attended.items()
            for layer in layers
        ]
    ).mean()
    figures = {"loss": error.item(), "attention": maps.item()}
    return error + attention * maps if recipe.attention else error, figures


@torch.no_grad()
def following(base: Base, networks: dict, recipe: Recipe, texts: Texts, batch: Batch, schedule) -> float:
    """How much the right subjects help at a high noise level: error with another row's over error with its own, less 1."""
    noise = torch.randn(batch.latents.shape, generator=torch.Generator().manual_seed(99))
    timestep = torch.full((len(batch.texts),), 700)
    noisy = objective.add_noise(batch.latents, noise, schedule[timestep]).to(training.device())
    errors = []
    for cls, patches in ((batch.cls, batch.patches), (batch.cls.roll(1, 0), batch.patches.roll(1, 0))):
        shown = Batch(batch.latents, batch.texts, cls, patches, batch.boxes, batch.inside)
        about = given(networks["text"], networks["adapter"], recipe, texts, shown, torch.ones(len(cls)))
        predicted, _ = denoise(base.unet, networks["adapter"], recipe, noisy, timestep.to(training.device()), about)
        errors.append((predicted.cpu() - noise).square().mean())
    return (errors[1] / errors[0] - 1).item()


def train(
    folder: str,
    steps: int,
    rate: float,
    seed: int = 0,
    name: str = "subjects",
    recipe: Recipe | None = None,
    data: Path | None = None,
    start: str | None = None,
) -> None:
    """Train for ``steps``; state in ``<folder>/<name>.pt``; resumable. Needs the stage `encoder`.

    data: a folder of labelled pictures, in place of drawn ones. start: a run in ``folder`` whose weights to begin with.
    """
    recipe = recipe or Recipe()
    base, encoder = Base(), image_encoder.load(folder)
    networks = {"adapter": begin(base.unet, seed), "text": base.text}
    if start:
        for part, weights in load(folder, start).items():
            networks[part].load_state_dict(weights)
    loop, seen = training.Loop(folder, name, networks, rate, steps, seed), partial(look, encoder)
    held_out = Pool(1, recipe.own, base.encode, seen, torch.Generator().manual_seed(7), 64, False)
    held_out.fill()
    if data is None:
        texts, shares = Texts.of_the_world(), [ONE * (1 - WIDE), ONE * WIDE, 1 - ONE]
        kinds = zip((1, 1, 2), (1536, 512, 1024), (False, True, True), strict=True)
        pools = [Pool(toys, recipe.own, base.encode, seen, loop.generator, size, wide) for toys, size, wide in kinds]
        for pool in pools:
            pool.fill()
    else:
        texts, pools, shares = subject_data.labelled(data, base.encode, seen, loop.generator)
    schedule, weights = objective.sd_alphas_cumprod().float(), torch.tensor(shares, dtype=torch.float32)
    for step in loop:
        pool = pools[int(torch.multinomial(weights, 1, generator=loop.generator))]
        pool.renew(FRESH)
        batch = pool.sample(WIDE_ROWS if pool.wide else ROWS)
        early = EARLY * max(0.0, 1 - step / (FALLEN * steps))
        value, figures = loss(base, networks, recipe, texts, batch, schedule, loop.generator, ATTENTION + early)
        if step % 200 == 199:
            figures["following"] = following(base, networks, recipe, Texts.of_the_world(), held_out.kept, schedule)
        loop.learn(value, figures)


def load(folder: str, name: str = "subjects") -> dict:
    """The running average of what was trained: state dicts of `adapter` and `text`."""
    return torch.load(Path(folder) / f"{name}.pt", map_location="cpu", weights_only=True)["average"]


def steps_of(folder: str, name: str = "subjects") -> int:
    """For how many steps it was trained."""
    return torch.load(Path(folder) / f"{name}.pt", map_location="cpu", weights_only=True)["done"]
