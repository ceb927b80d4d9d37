"""Making a joint set of pictures and texts, and putting it on a model: what the nodes `Joint Set` and `JeDi` do."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from .. import picking, starting
from ..layout import JointSet, Layout, Named, draw_known_noise, draw_noise, key_of
from ..references import Reference, made_for, set_size
from ..settings import AUTO, PAPER, TRAINING_FREE, Options, Settings
from . import channels, encoding, subject_masks, tagging, trained, words
from .sampling import JointSampling


@dataclass(frozen=True, eq=False)
class Prepared:
    """A joint set and what a sampler gets with it: two CONDITIONING lists and a LATENT dict, B rows each.

    size: width and height of every picture, in pixels.
    """

    joint_set: JointSet
    positive: list
    negative: list
    latent: dict
    size: tuple[int, int]


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
    start: dict | None = None,
    redo: str = "",
) -> Prepared:
    """A joint set with one picture to generate for each of ``texts``.

    width, height: pixels of every picture, in whole latents; 0 follows the first reference, see `references.set_size`.
    start: a LATENT of pictures to begin from, see `starting.read`; 0 then follows these. redo: which of them are made, counted
    through all sets from 1, such as `2, 4-5`; the others stay as they are, and the pictures see them. Empty makes all.
    Raises ValueError where there is no reference, no room for a latent, or no VAE of pictures, and where a start does not fit.
    """
    if not references:
        raise ValueError("Joint Set: `references` is empty, but needs at least one picture. Connect Reference Pictures.")
    encoding.check_vae(vae)
    step = vae.spacial_compression_encode()
    layout = Layout(sets, len(texts), len(references))
    known, begun = picking.known_rows(layout, redo), None if start is None else starting.read(start).of(layout)
    if begun is not None:
        width, height = begun.size(width, height, step)
    elif redo.strip():
        raise ValueError(
            f"Joint Set: `redo` is `{redo}`, but needs the pictures that were made before. Connect their latents to `start`, or "
            "empty `redo`."
        )
    rows = [*texts, *(reference.caption for reference in references)] * sets
    positive, null = encoding.encode_texts(clip, rows, negative, {})
    first_height, first_width = references[0].picture.shape[:2]
    most = 0 if width and height else made_for(positive[0][0].shape[-1])
    width, height = set_size(width, height, (first_width, first_height), most, step)
    if not width or not height:
        raise ValueError(
            f"Joint Set: the set's size would be {width}x{height}, but needs at least {step}x{step}. Set `width` and `height`."
        )
    clean = encoding.encode_pictures(vae, references, width, height)
    if begun is not None and begun.latents.shape[1:] != clean.shape[1:]:
        raise ValueError(
            f"Joint Set: the latents at `start` are {tuple(begun.latents.shape[1:])} (channels, height, width), but those of the "
            f"references are {tuple(clean.shape[1:])}. Connect latents of the same kind of model as `vae`."
        )
    noise = draw_noise(reference_seed, sets, len(references), tuple(clean.shape[1:]))
    known_noise = draw_known_noise(reference_seed, layout, known, tuple(clean.shape[1:]))
    joint_set = JointSet(
        layout,
        clean,
        noise,
        key_of(layout, rows, clean, noise, *(() if begun is None else (begun.latents,)), known=known),
        tuple(_on_grid(reference.fitted_mask(width, height), clean) for reference in references),
        tuple(reference.strength for reference in references),
        _acting(references, layout.pictures, clean),
        Named(tuple(one.caption for one in references), tuple(one.subject for one in references), clip),
        None if begun is None else begun.latents,
        known,
        known_noise,
        words.of_prompts(clip, references, texts),
    )
    for entry in (*positive, *null):
        entry[1][tagging.SET_KEY] = joint_set.key
    return Prepared(joint_set, positive, null, _latent(joint_set, None if begun is None else begun.mask), (width, height))


def _latent(joint_set: JointSet, mask: torch.Tensor | None) -> dict:
    """The LATENT that a sampler starts from. mask: [S * M, 1, H, W], where the pictures are painted anew."""
    layout = joint_set.layout
    latent = {"samples": joint_set.latent(), "batch_index": layout.noise_index, starting.LAYOUT: layout}
    if mask is None:
        return latent
    whole = mask.new_ones(layout.rows, *mask.shape[1:])
    whole[layout.generated_rows] = mask
    whole[joint_set.held.rows] = 1
    return {**latent, "noise_mask": whole}


def apply(model, joint_set: JointSet, settings: Settings, node: str | None = None):
    """A clone of the ModelPatcher ``model`` that samples this joint set; the one given stays as it was.

    node: the id of the node in which a run is shown live, see `strip.beside`; None shows nothing.
    """
    model = trained.predicting(model)
    order = channels.channel_order(model, settings.options.channel_order)
    channels.check_latents(model, joint_set)
    if settings.options.subject_masks == AUTO:
        joint_set = replace(joint_set, masks=subject_masks.find(model, joint_set, order))
    return JointSampling(joint_set, settings, order, node=node).install(model)


def options_of(recipe: str, model, joint_set: JointSet) -> Options:
    """The form of the method by one of `settings.RECIPES`: auto is the paper's if the model's file says it was trained on sets.

    The strong one's strength is shared by the references that act in one place.
    """
    if recipe == PAPER or (recipe == AUTO and trained.on_sets(model)):
        return Options()
    return replace(TRAINING_FREE, reference_strength=TRAINING_FREE.reference_strength / max(1, _together(joint_set)))


def _together(joint_set: JointSet) -> int:
    """The most references of a set that act in one place."""
    if joint_set.words is not None:
        subjects = Counter(joint_set.words.subjects)
        everywhere = subjects.pop(None, 0)
        return everywhere + max(subjects.values(), default=0)
    if joint_set.where is not None:
        return int((joint_set.where > 0.5).sum(dim=0).max())
    return joint_set.layout.references


def _on_grid(mask: torch.Tensor | None, clean: torch.Tensor) -> torch.Tensor | None:
    """A mask [H, W] on the grid of latents ``clean`` [R, C, h, w], [h, w]; None stays None."""
    return None if mask is None else F.adaptive_avg_pool2d(mask[None, None].float(), clean.shape[-2:])[0, 0].to(clean)


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
