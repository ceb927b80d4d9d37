"""The callable layer: encode a subject, and put subjects on a model."""

from __future__ import annotations

import torch

from ...host import exclusive, inputs, unet
from .. import places
from ..adapter import LATENT
from ..chain import Subject, Subjects, check_name
from ..settings import Settings
from ..where import Anywhere, Box
from . import cutting
from .sampling import SubjectSampling


def encode(adapter, image: torch.Tensor, mask: torch.Tensor | None, name: str, place: Box | Anywhere | None) -> tuple:
    """A Subject of one picture [1, H, W, 3 or 4], and its cut-out [S, S, 3]. mask: [1, H, W] in 0..1; None takes the whole.

    A mask that is white everywhere may have any size: Load Image, and Invert Mask, give a small one for a picture without
    transparency. place: None puts it where it stands in its own picture. Raises ValueError for what is not one picture and one
    mask of its shape, and for an empty mask or name.
    """
    if len(image) != 1:
        raise ValueError(f"Subject: `image` holds {len(image)} pictures, but needs one. Connect one, by Image From Batch.")
    inputs.check_finite(image, "Subject: `image`")
    check_name(name)
    image, alpha = image[..., :3], image[..., 3:]
    covering = torch.ones(1, *image.shape[1:3]) if mask is None else inputs.masks(mask, "Subject: `mask`")
    if len(covering) == 1 and bool((covering > 0.5).all()):
        covering = torch.ones(1, *image.shape[1:3])
    if tuple(covering.shape) != tuple(image.shape[:3]) and bool((covering > 0.5).any()):
        given, needed = (" x ".join(map(str, shape)) for shape in (covering.shape, image.shape[:3]))
        raise ValueError(
            f"Subject: `mask` has the shape {given} (masks x height x width), but `image` has {needed}. Connect the mask of this "
            "picture, or scale it."
        )
    if alpha.shape[-1] and covering.shape == alpha.shape[:3]:
        covering = covering * alpha[..., 0].to(covering)
    try:
        shown = cutting.cut_out(image[0], covering[0])
    except ValueError as problem:
        raise ValueError(f"Subject: {problem}.") from problem
    cls, patches = adapter.encode(shown)
    return Subject(name.strip(), cls, patches, place or places.box_of(covering[0] > 0.5)), shown


def apply(model, subjects: Subjects, settings: Settings):
    """A clone of the ModelPatcher ``model`` that paints ``subjects``; the one given stays as it was.

    Raises ValueError where the adapter does not fit the model, or a node before it cannot share the model.
    """
    if not subjects.each:
        raise ValueError("Apply Subjects: `subjects` is empty, but needs one or more. Connect Subject.")
    check_fits(model, subjects.adapter)
    exclusive.refuse_others(model, "Apply Subjects")
    if settings.steering.steps:
        model = _with_steady_weights(model)
    return SubjectSampling(subjects, settings).install(model)


def check_fits(model, adapter) -> None:
    """Raise ValueError unless an adapter's layers are those of the ModelPatcher ``model``."""
    blocks = [block for _, one in unet.transformers(model, "Apply Subjects") for block in one.transformer_blocks]
    network, sizes = model.model.diffusion_model, adapter.about.sizes
    if network.in_channels != LATENT:
        raise ValueError(
            f"Apply Subjects: the model takes {network.in_channels} channels, but needs {LATENT}: subjects bring a channel of "
            "their own for their places. Load a checkpoint that is neither for inpainting nor a joint-image model."
        )
    own = tuple((block.attn1.to_q.out_features, block.n_heads) for block in blocks)
    context = blocks[0].attn2.to_k.in_features
    if (own, context) != (sizes.layers, sizes.context):
        raise ValueError(
            f"Apply Subjects: the adapter is for {adapter.about.base}, with {len(sizes.layers)} attention blocks and texts of "
            f"{sizes.context} channels, but this one has {len(own)} and {context}. Load the checkpoint that the adapter is "
            "for, or an adapter for this one."
        )


def _with_steady_weights(model):
    """The same model where a gradient can pass: what DynamicVRAM does with weights, autograd does not see.

    It may take a weight's memory for another before the way back, so the host loads a copy without it, as for Torch Compile.
    """
    if not model.is_dynamic():
        return model
    if model.cached_patcher_init is None:
        raise ValueError(
            "Apply Subjects: attention control needs a copy of the model's weights that DynamicVRAM does not move, but the node "
            "that loaded the model cannot load it again. Load it with Load Checkpoint, set `control_steps` to 0, or start "
            "ComfyUI with --disable-dynamic-vram."
        )
    steady = model.clone(disable_dynamic=True)
    steady.set_model_compute_dtype(steady.model.get_dtype_inference())  # its linear layers may keep the file's precision
    return steady
