"""What the model on a MODEL socket is: its attention blocks, its channels, its file's channel order."""

from __future__ import annotations

from comfy.ldm.modules.attention import SpatialTransformer, SpatialVideoTransformer
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

from ..joint import settings
from ..joint.layout import JointSet
from . import weights

METADATA_KEY = "jedi.channel_order"


def attention_blocks(model) -> list[tuple[str, int]]:
    """The blocks with self-attention, as the host's hooks name them: ("input", 1), ..., ("middle", 0), ...

    Raises if the model is not a UNet for pictures.
    """
    return [block for block, _ in transformers(model, "JeDi")]


def transformers(model, node: str) -> list[tuple[tuple[str, int], SpatialTransformer]]:
    """The blocks with attention, as `attention_blocks` names them, and their transformers. node: who speaks in errors."""
    unet = model.model.diffusion_model
    found = {}
    if isinstance(unet, UNetModel):
        groups = {"input": unet.input_blocks, "middle": [unet.middle_block], "output": unet.output_blocks}
        for name, group in groups.items():
            for number, block in enumerate(group):
                for layer in block if block is not None else ():
                    if isinstance(layer, SpatialTransformer):
                        found[name, number] = layer
    if not found or any(isinstance(layer, SpatialVideoTransformer) for layer in found.values()):
        raise ValueError(
            f"{node}: the model is a {type(model.model).__name__} ({type(unet).__name__}), but needs a UNet for pictures with "
            "attention (Stable Diffusion 1.5, 2 or XL). Load such a checkpoint."
        )
    return list(found.items())


def channel_order(model, wanted: str) -> str | None:
    """The order of the input channels of a 9-channel UNet, or None for a plain 4-channel one.

    wanted: one of CHANNEL_ORDERS, or AUTO for what the metadata of the model's file says. A 9-channel file
    that says nothing is refused: both orders have the same shapes, and the wrong one paints noise.
    """
    attention_blocks(model)
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
    if said is None:
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


def _known(order: str, source: str) -> str:
    if order not in settings.CHANNEL_ORDERS:
        orders = " or ".join(f"`{known}`" for known in settings.CHANNEL_ORDERS)
        raise ValueError(
            f"JeDi: {source} is `{order}`, but needs to be {orders}. "
            "Set `channel_order` of JeDi Options to the one that the checkpoint was trained with."
        )
    return order
