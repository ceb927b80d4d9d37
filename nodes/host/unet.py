"""What the model on a MODEL socket is: its attention blocks."""

from __future__ import annotations

from comfy.ldm.modules.attention import SpatialTransformer, SpatialVideoTransformer
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel


def halvings(extra_options: dict) -> int:
    """How often the latents' sides were halved to those of a layer: 0, 1, 2, or 3 and more. extra_options: the host's."""
    size, layer = list(extra_options["original_shape"][-2:]), list(extra_options["activations_shape"][-2:])
    for count in range(3):
        if size == layer:
            return count
        size = [-(-length // 2) for length in size]  # the UNet rounds up when it halves
    return 3


def attention_blocks(model, node: str) -> list[tuple[str, int]]:
    """The blocks with self-attention, as the host's hooks name them: ("input", 1), ..., ("middle", 0), ...

    Raises if the model is not a UNet for pictures. node: who speaks in errors.
    """
    return [block for block, _ in transformers(model, node)]


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
