"""Input channels of a UNet: which it has beside the noisy latents, and in which order."""

from __future__ import annotations

import torch

from ...host import unet, weights
from .. import objective, settings
from ..layout import JointSet

METADATA_KEY = "jedi.channel_order"


def channel_order(model, wanted: str) -> str | None:
    """The order of the input channels of a 9-channel UNet, or None for a plain 4-channel one.

    wanted: one of CHANNEL_ORDERS, or AUTO for what the metadata of the model's file says. A 9-channel file
    that says nothing is refused: both orders have the same shapes, and the wrong one paints noise.
    """
    unet.attention_blocks(model, "JeDi")
    latent = model.get_model_object("latent_format").latent_channels
    channels = model.model.model_config.unet_config["in_channels"]
    if channels == latent:
        return None
    if channels != 2 * latent + 1:
        raise ValueError(
            f"JeDi: the model takes {channels} input channels, but needs {latent} (a text-to-image model) or "
            f"{2 * latent + 1} (a JeDi or inpainting model). Load such a checkpoint."
        )
    if wanted != settings.AUTO:
        return _known(wanted, "`channel_order` of JeDi Options")
    path = weights.path_of(model)
    said, why = None, "the model does not tell which file it came from"
    if path is not None:
        try:
            said = weights.read_metadata(path).get(METADATA_KEY)
            why = f"{path.name} has no metadata `{METADATA_KEY}`"
        except ValueError as problem:
            why = str(problem)
    if path is None or said is None:
        raise ValueError(
            f"JeDi: the model takes {channels} input channels, and their order is not known: {why}. Connect JeDi Options "
            f"and set `channel_order` to `{settings.CHANNEL_ORDERS[0]}` (JeDi) or `{settings.CHANNEL_ORDERS[1]}` "
            "(Stable Diffusion inpainting)."
        )
    return _known(said, f"metadata `{METADATA_KEY}` of {path.name}")


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

    The host scales the latents that it feeds itself, but not these, so they are scaled here.
    """
    layout = joint_set.layout
    missing = torch.ones(layout.rows)
    missing[layout.reference_rows] = 0
    channels = objective.reference_input(model.process_latent_in(joint_set.latent().float()), missing)
    if order == settings.CHANNEL_ORDERS[1]:
        channels = torch.cat((channels[:, -1:], channels[:, :-1]), dim=1)
    return channels


def without_references(channels: torch.Tensor, null: list[bool], order: str, literal: bool) -> torch.Tensor:
    """`reference_channels` of a UNet batch with null references in the chunks that ``null`` marks.

    A null reference is zero in latent space and its mask 1 (missing) on every row: what training showed the model
    as a set without references. literal: the mask stays, as equation 3's e(x_t, 0, M) is printed.
    """
    if not any(null):
        return channels
    channels = channels.unflatten(0, (len(null), -1)).clone()
    chosen = torch.tensor(null)
    mask = slice(0, 1) if order == settings.CHANNEL_ORDERS[1] else slice(-1, None)
    shown = channels[:, :, mask].clone()
    channels[chosen] = 0
    channels[:, :, mask] = shown
    if not literal:
        channels[chosen, :, mask] = 1
    return channels.flatten(0, 1)


def _known(order: str, source: str) -> str:
    if order not in settings.CHANNEL_ORDERS:
        orders = " or ".join(f"`{known}`" for known in settings.CHANNEL_ORDERS)
        raise ValueError(
            f"JeDi: {source} is `{order}`, but needs to be {orders}. "
            "Set `channel_order` of JeDi Options to the one that the checkpoint was trained with."
        )
    return order
