"""Making a joint set of pictures and texts, and putting it on a model: what the nodes `Joint Set` and `JeDi` do."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from ..layout import JointSet, Layout, Named, draw_noise, key_of
from ..references import Reference, made_for, set_size
from ..settings import AUTO, TRAINING_FREE, Options, Settings
from . import channels, encoding, subject_masks, tagging
from .sampling import JointSampling


@dataclass(frozen=True, eq=False)
class Prepared:
    """A joint set and what a sampler gets with it: two CONDITIONING lists and a LATENT dict, B rows each."""

    joint_set: JointSet
    positive: list
    negative: list
    latent: dict


def prepare(
    clip,
    vae,
    references: tuple[Reference, ...],
    texts: list[str],
    negative: str = "",
    sets: int = 1,
    width: int = 0,
    height: int = 0,
    reference_seed: int = 0,
) -> Prepared:
    """A joint set with one picture to generate for each of ``texts``.

    width, height: pixels of every picture, in whole latents; 0 follows the first reference, see `references.set_size`.
    Raises ValueError where there is no reference, no room for a latent, or no VAE of pictures.
    """
    if not references:
        raise ValueError("Joint Set: `references` is empty, but needs at least one picture. Connect Reference Pictures.")
    encoding.check_vae(vae)
    step = vae.spacial_compression_encode()
    first_height, first_width = references[0].picture.shape[:2]
    most = 0 if width and height else made_for(encoding.text_width(clip))
    width, height = set_size(width, height, (first_width, first_height), most, step)
    if not width or not height:
        raise ValueError(
            f"Joint Set: the set's size would be {width}x{height}, but needs at least {step}x{step}. Set `width` and `height`."
        )
    clean = encoding.encode_pictures(vae, references, width, height)
    layout = Layout(sets, len(texts), len(references))
    noise = draw_noise(reference_seed, sets, len(references), tuple(clean.shape[1:]))
    rows = [*texts, *(reference.caption for reference in references)] * sets
    joint_set = JointSet(
        layout,
        clean,
        noise,
        key_of(layout, rows, clean, noise),
        tuple(_on_grid(reference.fitted_mask(width, height), clean) for reference in references),
        tuple(reference.strength for reference in references),
        _acting(references, layout.pictures, clean),
        Named(tuple(one.caption for one in references), tuple(one.subject for one in references), clip),
    )
    positive, null = encoding.encode_texts(clip, rows, negative, {tagging.SET_KEY: joint_set.key})
    return Prepared(joint_set, positive, null, {"samples": joint_set.latent(), "batch_index": layout.noise_index})


def apply(model, joint_set: JointSet, settings: Settings):
    """A clone of the ModelPatcher ``model`` that samples this joint set; the one given stays as it was."""
    order = channels.channel_order(model, settings.options.channel_order)
    channels.check_latents(model, joint_set)
    if settings.options.subject_masks == AUTO:
        joint_set = replace(joint_set, masks=subject_masks.find(model, joint_set, order))
    return JointSampling(joint_set, settings, order).install(model)


def best_options(model, references: int) -> Options:
    """The form of the method that suits a model and a number of references: the paper's if the model's file says that it was
    trained on sets."""
    if channels.trained_on_sets(model):
        return Options()
    return replace(TRAINING_FREE, reference_strength=TRAINING_FREE.reference_strength / max(1, references))


def _on_grid(mask: torch.Tensor | None, clean: torch.Tensor) -> torch.Tensor | None:
    """A mask [H, W] on the grid of latents ``clean`` [R, C, h, w], [h, w]; None stays None."""
    return None if mask is None else F.adaptive_avg_pool2d(mask[None, None].float(), clean.shape[-2:])[0, 0]


def _acting(references: tuple[Reference, ...], pictures: int, clean: torch.Tensor) -> torch.Tensor | None:
    """Where on each picture to generate each reference acts, [R, M, h, w]; None if all act everywhere."""
    if all(one.where is None for one in references):
        return None
    acting = clean.new_ones(len(references), pictures, *clean.shape[-2:])
    for number, one in enumerate(references):
        if one.where is None:
            continue
        if len(one.where) not in (1, pictures):
            raise ValueError(
                f"Joint Set: reference {number + 1} has {len(one.where)} masks in `where` of Reference Pictures, but needs 1, or "
                f"{pictures}, one for each picture to generate."
            )
        acting[number] = F.adaptive_avg_pool2d(one.where[:, None].float(), clean.shape[-2:])[:, 0]
    return acting
