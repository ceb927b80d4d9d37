"""Where the subject of a reference is, by the model's own cross-attention to the subject's word (ConsiStory, section 3.1)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import comfy.model_sampling
import comfy.samplers
import torch
import torch.nn.functional as F

from ...host import attention, unet
from .. import places, prompts, sharing
from ..layout import JointSet
from . import channels, words

TIMESTEP = 100
"""Of the one call: little noise. On drawn toys masks are equally good from 60 to 260."""
NOT_LOOKING = (
    "sampler_calc_cond_batch_function",
    "sampler_pre_cfg_function",
    "sampler_cfg_function",
    "sampler_post_cfg_function",
    "disable_cfg1_optimization",
)
"""Model options by which other nodes guide a sampler; to look, only the network is needed."""


@torch.inference_mode()
def find(model, joint_set: JointSet, channel_order: str | None) -> tuple[torch.Tensor, ...]:
    """A mask of 0 and 1 on the latent grid, [h, w], for every reference; masks that the set has are kept.

    One call of the ModelPatcher ``model`` for each reference without a mask, which attends to its caption alone. A token of
    the grid belongs to the subject if its attention to the subject's word is above Otsu's threshold: as a share of the attention
    to that word and to the words after it, which name the background, carried along self-attention in the finest layers.
    Raises ValueError where no word names the subject, and where attention is not finite.
    """
    known = joint_set.masks or (None,) * len(joint_set.references)
    return tuple(_found(model, joint_set, number, channel_order) if mask is None else mask for number, mask in enumerate(known))


def _found(model, joint_set: JointSet, number: int, channel_order: str | None) -> torch.Tensor:
    conditioning, word, after = _text(joint_set, number)
    if channel_order is not None:
        row = joint_set.layout.reference_rows[number]
        beside = channels.reference_channels(joint_set, model.model, channel_order)[row : row + 1]
        conditioning = [[states, {**values, "noise_concat": beside}] for states, values in conditioning]
    clean = joint_set.references[number : number + 1]
    looked = look(model, conditioning, clean, joint_set.reference_noise()[number][None])
    heat, rest = (looked.text[..., positions].sum(dim=-1) for positions in (word, after))
    heat = looked.spread(heat / (heat + rest) if after else heat)
    if not heat.isfinite().all():
        raise ValueError(
            f"JeDi: `subject_masks` is `auto`, but what the model attends to in reference {number + 1} is not finite, so its "
            "subject is nowhere. Start ComfyUI with --force-fp32, as half precision may be too little for this model, or connect "
            "masks to Reference Pictures."
        )
    return (heat > sharing.otsu(heat.flatten()[None])).to(clean)


def _text(joint_set: JointSet, number: int) -> tuple[list, list[int], list[int]]:
    """CONDITIONING of a reference's caption, where the tokens of its subject's word are, and those of the words after it."""
    named = joint_set.named
    if named is None:
        raise ValueError("JeDi: `subject_masks` is `auto`, but the joint set does not say what its references show.")
    caption = named.captions[number] or named.subjects[number]
    word = named.subjects[number] or prompts.subject_of(caption)
    tokens = named.clip.tokenize(caption)
    positions = prompts.positions_of(words.ids(named.clip, word), words.flat(tokens)) if word else []
    if not positions:
        raise ValueError(
            f"JeDi: `subject_masks` is `auto`, but the caption of reference {number + 1}, `{caption}`, does not hold a word for "
            f"its subject{f': `{word}` is not in it' if word else ''}. Write a word of the caption into `subject` of Reference "
            "Pictures, connect masks there, or set `subject_masks` to `given`."
        )
    after = words.after(positions[-1], words.flat(tokens), words.filling(named.clip))
    return named.clip.encode_from_tokens_scheduled(tokens, show_pbar=False), positions, after


@dataclass(frozen=True, eq=False)
class Looked:
    """What a model looked at in one call on one picture.

    text: its attention to its text, [h, w, T], the mean over heads and over the layers of `places.clearest`.
    itself: queries and keys of the finest self-attention layers, [heads, L, D], with their height and width.
    """

    text: torch.Tensor
    itself: tuple[tuple[torch.Tensor, torch.Tensor, tuple[int, int]], ...]

    def spread(self, heat: torch.Tensor) -> torch.Tensor:
        """A map [h, w] carried along self-attention, so that what belongs together gets one value."""
        size, spread = heat.shape, torch.zeros_like(heat)
        for q, k, shape in self.itself:
            values = _resized(heat, shape).flatten()[None, :, None].expand(len(q), -1, q.shape[-1]).to(q)
            carried = F.scaled_dot_product_attention(q, k, values)[..., 0].mean(dim=0)
            spread += _resized(carried.view(shape).to(heat), size)
        return spread / len(self.itself)


def look(model, conditioning: list, clean: torch.Tensor, noise: torch.Tensor) -> Looked:
    """One call of the ModelPatcher ``model`` on a picture with little noise. clean, noise: [1, C, h, w], unscaled.

    Other nodes' replacements of attention and their guidance do not act in this call.
    """
    text: list[torch.Tensor] = []
    itself: list[tuple[torch.Tensor, torch.Tensor, tuple[int, int]]] = []

    def cross(q, k, v, extra_options):
        heads, shape = extra_options["n_heads"], extra_options["activations_shape"][-2:]
        weights = places.attention_to_text(places.by_heads(q[0], heads), places.by_heads(k[0], heads))
        text.append(weights.T.unflatten(-1, shape)[None].cpu())
        return attention.attend(q, k, v, extra_options)

    def own(q, k, v, extra_options):
        shape = tuple(extra_options["activations_shape"][-2:])
        if itself and math.prod(shape) > math.prod(itself[0][2]):
            itself.clear()
        if not itself or shape == itself[0][2]:
            queries, keys = (places.by_heads(x[0], extra_options["n_heads"]) for x in (q, k))
            itself.append((queries, keys, shape))
        return attention.attend(q, k, v, extra_options)

    model = model.clone()
    model.model_options = {key: value for key, value in model.model_options.items() if key not in NOT_LOOKING}
    given = model.model_options["transformer_options"]
    model.model_options["transformer_options"] = {key: given[key] for key in given if key not in ("patches", "patches_replace")}
    for block in unet.attention_blocks(model, "JeDi"):
        model.set_model_attn1_replace(own, *block)
        model.set_model_attn2_replace(cross, *block)
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(conditioning, conditioning)
    guider.set_cfg(1.0)
    sigma = _level(model.get_model_object("model_sampling"))
    sampler = comfy.samplers.sampler_object("euler")
    guider.sample(noise, clean, sampler, torch.stack((sigma, torch.zeros_like(sigma))).float(), disable_pbar=True, seed=0)
    seen = places.clearest(text, tuple(clean.shape[-2:]))[0].movedim(0, -1)
    return Looked(seen, tuple((q.cpu(), k.cpu(), shape) for q, k, shape in itself))


def _level(sampling) -> torch.Tensor:
    """The noise level at `TIMESTEP` of a host's model sampling.

    One that does not count its timesteps so far (EDM, continuous V) gets the level of Stable Diffusion's schedule there, by the
    spread of its own data.
    """
    timestep = torch.tensor(float(TIMESTEP))
    if sampling.timestep(sampling.sigma_max) > TIMESTEP:
        return sampling.sigma(timestep)
    level = comfy.model_sampling.ModelSamplingDiscrete().sigma(timestep) * getattr(sampling, "sigma_data", 1.0)
    return level.clamp(float(sampling.sigma_min), float(sampling.sigma_max))


def _resized(heat: torch.Tensor, size) -> torch.Tensor:
    return F.interpolate(heat[None, None], tuple(size), mode="bilinear", antialias=True)[0, 0]
