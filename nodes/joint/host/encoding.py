"""Encoding the texts and pictures of a joint set with the host's CLIP and VAE."""

from __future__ import annotations

from functools import partial

import comfy.model_management
import comfy.utils
import torch

from .. import prompts
from ..references import Reference
from . import kept, tagging


def encode_texts(clip, rows: list[str], negative: str, extra: dict) -> tuple[list, list]:
    """Conditioning for a batch of ``rows``, each with its own text, and for one negative text for all of them.

    All states have one token count, so that the host can run every term in one batch; where that takes padding, an entry
    says under `tagging.TOKENS` which tokens are a row's own. Returns two CONDITIONING lists; an entry is
    [states [B, T, D] or [1, T, D], {"pooled_output": [B, D] or [1, D], **extra}].
    A CLIP with scheduled hooks gives an entry for each part of the schedule, as it does in stock nodes.
    """
    if clip is None:
        raise ValueError("Joint Set: `clip` is empty: the checkpoint holds no text encoder. Connect one from another loader.")
    encoded = {}
    for text in dict.fromkeys([*rows, negative]):
        comfy.model_management.throw_exception_if_processing_interrupted()
        encoded[text] = clip.encode_from_tokens_scheduled(clip.tokenize(text), show_pbar=False)
    length = prompts.common_length([entry[0].shape[1] for text in encoded for entry in encoded[text]])

    def entries(chosen: list[str]) -> list:
        parts = []
        for number, (_, first) in enumerate(encoded[chosen[0]]):
            own = [encoded[text][number][0] for text in chosen]
            values = {**first, **extra}
            tokens = prompts.Tokens.of([states.shape[1] for states in own], length)
            if tokens is not None:
                values[tagging.TOKENS] = tokens
            if torch.is_tensor(first.get("pooled_output")):
                values["pooled_output"] = torch.cat([encoded[text][number][1]["pooled_output"] for text in chosen])
            parts.append([torch.cat([prompts.lengthen(states, length) for states in own]), values])
        return parts

    return entries(rows), entries([negative])


def check_vae(vae) -> None:
    """Refuse what does not encode pictures: no VAE at all, and those of videos and sound."""
    if vae is None:
        raise ValueError("Joint Set: `vae` is empty: the checkpoint holds no VAE. Connect one from Load VAE.")
    axes, channels = getattr(vae, "latent_dim", 2), getattr(vae, "output_channels", 3)
    if axes != 2 or channels != 3:
        raise ValueError(
            f"Joint Set: `vae` makes latents of {axes} axes from {channels} channels, as VAEs of videos and sound do, but needs "
            "one of pictures: 2 axes from 3 channels. Connect the VAE that belongs to the model."
        )


def encode_pictures(vae, references: tuple[Reference, ...], width: int, height: int) -> torch.Tensor:
    """Clean latents of the references at one size, [R, C, height / f, width / f], unscaled, on the CPU.

    One at a time: memory does not grow with their number, and a run can be interrupted in between. What this VAE
    encoded before is not encoded again. Raises ValueError where the VAE gives numbers that are not finite.
    """
    progress = comfy.utils.ProgressBar(len(references))
    latents = []
    for number, reference in enumerate(references, 1):
        comfy.model_management.throw_exception_if_processing_interrupted()
        picture = reference.fitted(width, height)
        latents.append(kept.latent_of(vae, picture, partial(_encode, vae, picture, number)))
        progress.update_absolute(number)
    return torch.cat(latents)


def _encode(vae, picture: torch.Tensor, number: int) -> torch.Tensor:
    """The latent of one picture [H, W, 3], reference ``number`` of its set."""
    latent = vae.encode(picture[None]).detach()
    if not latent.isfinite().all():
        raise ValueError(
            f"Joint Set: the VAE made NaN or infinity of reference {number}, but the set needs finite latents. Use a VAE that "
            "works in half precision, or start ComfyUI with --fp32-vae."
        )
    return latent
