"""What is known of a model's training on sets: from the file it was loaded from, and from LoRAs that were put on it."""

from __future__ import annotations

import comfy.model_base
import comfy.model_sampling

from ...host import weights
from .. import trained
from ..trained import Trained

FIRST = "diffusion_model.input_blocks.0.0.weight"
"""The UNet's first convolution, as the host's patches name it."""
KERNEL = 9
"""Places of that convolution."""
KINDS = {comfy.model_base.ModelType.EPS: trained.EPS, comfy.model_base.ModelType.V_PREDICTION: trained.V}


def input_channels(model) -> int:
    """Of the ModelPatcher ``model``'s UNet, with its LoRAs on it: one may have widened the first convolution.

    Raises ValueError for a LoRA of other input channels after that one, which the host would leave out with a line in its log.
    """
    own = channels = model.model.model_config.unet_config["in_channels"]
    for _, down, _, middle, _, reshaped, *_ in _factors(model):
        if reshaped is not None:
            channels = int(reshaped[1])
        elif channels != own and middle is None and down[0].numel() != channels * KERNEL:
            raise ValueError(
                f"JeDi: a LoRA on the model is for a first convolution of {down[0].numel() // KERNEL} input channels, but finds "
                f"one of {channels}. Load it before the LoRA that was trained on sets."
            )
    return channels


def of_file(model) -> Trained | None:
    """What the model's own file says; None if it says nothing, or is not known. Raises ValueError for words that are damaged."""
    path = weights.path_of(model)
    try:
        metadata = {} if path is None else weights.read_metadata(path)
    except ValueError:  # the host loads other formats, too, which say nothing
        return None
    return trained.said(metadata)


def of_loras(model) -> list[Trained]:
    """What LoRAs on the model say, in the order in which they were put on it. Raises ValueError if the model cannot have them."""
    found = []
    for factors in _factors(model):
        try:
            one = trained.read(factors[1])
        except ValueError as problem:
            raise ValueError(f"JeDi: a LoRA on the model cannot be used: {problem}. Load the file as it was made.") from problem
        if one is not None:
            found.append(one)
    own = model.model.model_config.unet_config["in_channels"]
    for one in found:
        if one.base_channels not in (None, own):
            raise ValueError(
                f"JeDi: a LoRA on the model was trained on one of {one.base_channels} input channels, but this one has {own}. "
                "Load the checkpoint that it was trained on, or one like it."
            )
    return found


def on_sets(model) -> bool:
    """Whether the model's file, or a LoRA on it, says that it was trained on joint sets."""
    try:
        return bool(of_loras(model)) or of_file(model) is not None
    except ValueError:
        return False


def predicting(model):
    """The ModelPatcher, or a clone of it that predicts what its file says.

    The host takes every 9-channel UNet of Stable Diffusion 2 for one that predicts noise. A user's own choice, by
    ModelSamplingDiscrete, stays. Raises ValueError for a LoRA that was trained to predict something else.
    """
    if "model_sampling" in model.object_patches or model.model.model_type not in KINDS:
        return model
    now = KINDS[model.model.model_type]
    try:
        file = of_file(model)
    except ValueError as problem:
        raise ValueError(f"JeDi: the model cannot be used: {problem}. Load a checkpoint that is whole.") from problem
    if file is not None and file.prediction not in (None, now):
        model, now = model.clone(), file.prediction
        model.add_object_patch("model_sampling", _sampling(model.model.model_config, now))
    for one in of_loras(model):
        if one.prediction not in (None, now):
            raise ValueError(
                f"JeDi: a LoRA on the model was trained to predict {one.prediction}, but the model predicts {now}. Load the "
                "checkpoint that it was trained on, or one like it."
            )
    return model


def _sampling(config, prediction: str):
    class Noise(comfy.model_sampling.ModelSamplingDiscrete, comfy.model_sampling.EPS):
        pass

    class V(comfy.model_sampling.ModelSamplingDiscrete, comfy.model_sampling.V_PREDICTION):
        pass

    return (V if prediction == trained.V else Noise)(config)


def _factors(model) -> list[tuple]:
    """Of LoRAs on the first convolution what the host keeps of each: (up, down, alpha, mid, scale, new shape)."""
    adapters = [patch[1] for patch in model.patches.get(FIRST, ())]
    return [tuple(one.weights) for one in adapters if getattr(one, "name", "") == "lora" and len(one.weights) > 5]
