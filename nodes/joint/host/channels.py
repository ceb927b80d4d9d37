"""Input channels of a UNet: which it has beside the noisy latents, and in which order."""

from __future__ import annotations

import comfy.utils
import torch

from ...host import unet, weights
from .. import objective, settings
from ..layout import JointSet, Layout
from ..trained import ORDER_KEY
from . import trained


def channel_order(model, wanted: str) -> str | None:
    """The order of the input channels of a 9-channel UNet, or None for a plain 4-channel one.

    wanted: one of CHANNEL_ORDERS, or AUTO for what the metadata of the model's file says, or a LoRA that made it one. What says
    nothing is refused: both orders have the same shapes, and the wrong one paints noise.
    """
    unet.attention_blocks(model, "JeDi")
    latent = model.get_model_object("latent_format").latent_channels
    channels, loras = trained.input_channels(model), trained.of_loras(model)
    if channels == latent:
        return None
    if channels != 2 * latent + 1:
        raise ValueError(
            f"JeDi: the model takes {channels} input channels, but needs {latent} (a text-to-image model) or "
            f"{2 * latent + 1} (a JeDi or inpainting model). Load such a checkpoint."
        )
    if wanted != settings.AUTO:
        return _known(wanted, "`channel_order` of JeDi Options")
    own, why = model.model.model_config.unet_config["in_channels"], "a LoRA without words about it made them"
    orders = {one.channel_order: "a LoRA on the model" for one in loras if one.channel_order}
    if own != latent:
        said, why = _of_file(model)
        orders |= {} if said is None else {said: why}
    if not orders:
        raise ValueError(
            f"JeDi: the model takes {channels} input channels, and their order is not known: {why}. Connect JeDi Options "
            f"and set `channel_order` to `{settings.CHANNEL_ORDERS[0]}` (JeDi) or `{settings.CHANNEL_ORDERS[1]}` "
            "(Stable Diffusion inpainting)."
        )
    if len(orders) > 1:
        raise ValueError(
            "JeDi: the model and its LoRAs have different orders of input channels: "
            + "; ".join(f"{source} says `{order}`" for order, source in orders.items())
            + ". Load a LoRA that was trained on this checkpoint, or one like it."
        )
    return _known(*orders.popitem())


def _of_file(model) -> tuple[str | None, str]:
    """The order that the metadata of the model's file say, and where they say it; or None, and why it is not known."""
    path = weights.path_of(model)
    if path is None:
        return None, "the model does not tell which file it came from"
    try:
        said = weights.read_metadata(path).get(ORDER_KEY)
    except ValueError as problem:
        return None, str(problem)
    return said, f"metadata `{ORDER_KEY}` of {path.name}" if said else f"{path.name} has no metadata `{ORDER_KEY}`"


def check_latents(model, joint_set: JointSet) -> None:
    """Refuse a set that was encoded with another kind of VAE than the model's."""
    needed, given = model.get_model_object("latent_format").latent_channels, joint_set.references.shape[1]
    if given != needed:
        raise ValueError(
            f"JeDi: the references of the joint set have {given} latent channels, but the model needs {needed}. Connect the VAE "
            "that belongs to the model to Joint Set."
        )


def reference_channels(joint_set: JointSet, model, order: str) -> torch.Tensor:
    """Reference and mask channels with every reference given: [B, C + 1, h, w], in the UNet's order.

    Known pictures are missing, as all pictures of a set are: given, they halved how often the demo's subject was recognised.
    The host scales the latents that it feeds itself, but not these, so they are scaled here.
    """
    missing = torch.ones(joint_set.layout.rows)
    missing[joint_set.layout.reference_rows] = 0
    channels = objective.reference_input(model.process_latent_in(joint_set.latent().float()), missing)
    return _ordered(channels[:, :-1], channels[:, -1:], order)


def with_inpainting(channels: torch.Tensor, entry: dict, layout: Layout, model, order: str) -> torch.Tensor:
    """`reference_channels` [B, C + 1, h, w] whose pictures to generate are what a conditioning entry says to inpaint.

    The host's InpaintModelConditioning gives an entry `concat_latent_image` [P, C, h', w'], the picture without what is to be
    painted, and `concat_mask` [P, 1, H, W], 1 where that is. P is 1, M (a picture each, in every set), S * M or B.
    Another size is fitted as the host does it. Raises ValueError for another P.
    """
    latent, mask = entry.get("concat_latent_image"), entry.get("concat_mask")
    if latent is None:
        return channels
    height, width = channels.shape[-2:]
    latent = _of_pictures(model.process_latent_in(latent.float()), layout)
    latent = comfy.utils.common_upscale(latent, width, height, "bilinear", "center").to(channels)
    if mask is None:
        missing = torch.ones_like(latent[:, :1])
    else:
        mask = _of_pictures(mask.float().reshape(-1, 1, *mask.shape[-2:]), layout)
        missing = comfy.utils.common_upscale(mask, width, height, "bilinear", "center").round().to(channels)
    channels = channels.clone()
    channels[layout.generated_rows] = _ordered(latent, missing, order)
    return channels


def _of_pictures(given: torch.Tensor, layout: Layout) -> torch.Tensor:
    """What is given for some rows, for each picture to generate: [S * M, ...]."""
    try:
        return layout.of_pictures(given)
    except ValueError as needed:
        raise ValueError(
            f"JeDi: InpaintModelConditioning gives {len(given)} pictures or masks, but needs {needed}. Give it one picture to "
            "inpaint, or one for each picture to generate."
        ) from None


def without_references(channels: torch.Tensor, null: list[bool], order: str, literal: bool, rows: list[int]) -> torch.Tensor:
    """`reference_channels` of a UNet batch with null references in the chunks that ``null`` marks.

    A null reference is zero in latent space and its mask 1 (missing) on every row: what training showed the model
    as a set without references. literal: the mask stays, as equation 3's e(x_t, 0, M) is printed. rows: of a chunk, those
    of references; pictures to generate are missing already, or inpainted.
    """
    if not any(null):
        return channels
    channels = channels.unflatten(0, (len(null), -1)).clone()
    mask = _mask_channel(order)
    for chunk in (number for number, flag in enumerate(null) if flag):
        shown = channels[chunk, rows, mask].clone() if literal else 1
        channels[chunk, rows] = 0
        channels[chunk, rows, mask] = shown
    return channels.flatten(0, 1)


def _mask_channel(order: str) -> slice:
    return slice(0, 1) if order == settings.CHANNEL_ORDERS[1] else slice(-1, None)


def _ordered(latent: torch.Tensor, mask: torch.Tensor, order: str) -> torch.Tensor:
    """Channels [B, C + 1, h, w] of latents [B, C, h, w] and a mask [B, 1, h, w]."""
    return torch.cat((mask, latent) if _mask_channel(order).start == 0 else (latent, mask), dim=1)


def _known(order: str, source: str) -> str:
    if order not in settings.CHANNEL_ORDERS:
        orders = " or ".join(f"`{known}`" for known in settings.CHANNEL_ORDERS)
        raise ValueError(
            f"JeDi: {source} is `{order}`, but needs to be {orders}. "
            "Set `channel_order` of JeDi Options to the one that the checkpoint was trained with."
        )
    return order
