"""Encoding the texts and pictures of a joint set with the host's CLIP and VAE."""

from __future__ import annotations

import comfy.model_management
import comfy.utils
import torch

from .. import prompts
from ..references import Reference


def encode_texts(clip, rows: list[str], negative: str, extra: dict) -> tuple[list, list]:
    """Conditioning for a batch of ``rows``, each with its own text, and for one negative text for all of them.

    All states have one token count, so that the host can run every term in one batch. Returns two
    CONDITIONING lists; an entry is [states [B, T, D] or [1, T, D], {"pooled_output": [B, D] or [1, D], **extra}].
    A CLIP with scheduled hooks gives an entry for each part of the schedule, as it does in stock nodes.
    """
    if clip is None:
        raise ValueError("Joint Set: `clip` is empty: the checkpoint holds no text encoder. Connect one from another loader.")
    encoded = {}
    for text in dict.fromkeys([*rows, negative, ""]):
        comfy.model_management.throw_exception_if_processing_interrupted()
        encoded[text] = clip.encode_from_tokens_scheduled(clip.tokenize(text), show_pbar=False)
    texts = list(dict.fromkeys(rows))
    length = prompts.common_length([entry[0].shape[1] for text in [*texts, negative] for entry in encoded[text]])

    def entries(chosen: list[str]) -> list:
        parts = []
        for number, (_, first) in enumerate(encoded[chosen[0]]):
            states = [prompts.lengthen(encoded[text][number][0], length, encoded[""][number][0]) for text in chosen]
            values = {**first, **extra}
            if torch.is_tensor(first.get("pooled_output")):
                values["pooled_output"] = torch.cat([encoded[text][number][1]["pooled_output"] for text in chosen])
            parts.append([torch.cat(states), values])
        return parts

    return entries(rows), entries([negative])


def encode_pictures(vae, references: tuple[Reference, ...], width: int, height: int) -> torch.Tensor:
    """Clean latents of the references at one size, [R, C, height / f, width / f], unscaled, on the CPU.

    One at a time: memory does not grow with their number, and a run can be interrupted in between.
    """
    progress = comfy.utils.ProgressBar(len(references))
    latents = []
    for number, reference in enumerate(references):
        comfy.model_management.throw_exception_if_processing_interrupted()
        latents.append(vae.encode(reference.fitted(width, height)[None]).detach())
        progress.update_absolute(number + 1)
    return torch.cat(latents).float().cpu()
