"""What comes out of a training: a checkpoint, or a LoRA, that the host's own loaders take."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import comfy.model_detection
import comfy.utils
import torch
from safetensors.torch import save_file

from ...data.whole_files import whole
from ...joint import settings as joint
from ...joint import trained
from ...joint.host.trained import FIRST
from ...joint.trained import Trained
from ..settings import FULL
from .base import NAME, narrowed
from .network import Network

PREFIX = "diffusion_model."
SMALL = (torch.float16, torch.bfloat16, torch.float32)
"""Precisions that a checkpoint's weights keep; those of others are written in the first."""


def save(network: Network, path: Path, steps: int, weights: Mapping[str, torch.Tensor] | None = None) -> Path:
    """Write what was trained to ``path`` (safetensors), whole or not at all. weights: of the UNet, where its own are shards."""
    if network.settings.method == FULL:
        return _write(checkpoint(network, weights), path, about(network, steps))
    return _write(lora(network, steps), path, about(network, steps))


def about(network: Network, steps: int) -> Trained:
    """What the file says of itself. A LoRA's channels have the order of the model that it is put on."""
    settings, base = network.settings, network.base
    order = joint.CHANNEL_ORDERS[0] if settings.references else None
    if settings.method == FULL:
        return Trained(order, base.prediction, settings.set_sizes, steps, settings.data)
    return Trained(base.order or order, base.prediction, settings.set_sizes, steps, settings.data, base.channels)


def lora(network: Network, steps: int, dtype: torch.dtype = torch.float16) -> dict[str, torch.Tensor]:
    """The factors under the names of the host's own training, and what they did to the first convolution.

    The host leaves out a difference of another shape, but widens a weight for factors that say its new shape: here the difference
    itself and the identity, so that nothing is lost. After them stand rows that say what the LoRA is and change nothing.
    """
    found = {
        f"{PREFIX}{name}.{key}": _shaped(key, value.detach().to("cpu", dtype).clone(), shape)
        for (name, shape), factors in zip(network.adapted.items(), network.factors, strict=True)
        for key, value in factors.named_parameters()
    }
    shape = network.before.shape
    words = trained.written(about(network, steps), shape[1:].numel())
    up, down = words.new_zeros(shape[0], len(words)), words
    if network.settings.references:
        change = narrowed(network.first.detach().float().cpu() - network.before.float().cpu(), network.base.order).flatten(1)
        up, down = torch.cat((change, up), dim=1), torch.cat((torch.eye(change.shape[1]), words))
        found[f"{_first()}.reshape_weight"] = torch.tensor(shape)
    return found | {f"{_first()}.lora_up.weight": up, f"{_first()}.lora_down.weight": down}


def checkpoint(network: Network, weights: Mapping[str, torch.Tensor] | None = None) -> dict[str, torch.Tensor]:
    """The base's file with the UNet that was trained, in the precision that its weights had. weights: see `save`."""
    path = network.base.path
    state = comfy.utils.load_torch_file(str(path), safe_load=True)
    prefix = comfy.model_detection.unet_prefix_from_state_dict(state)
    names = {f"{prefix}{name}": value for name, value in (weights or network.unet.state_dict()).items()}
    if lacking := [name for name in names if name not in state]:
        raise ValueError(
            f"{NAME}: {path.name} has no weight `{lacking[0]}`: it is in another layout than Stable Diffusion's. Train a LoRA "
            "instead."
        )
    state = {name: value for name, value in state.items() if torch.is_tensor(value) and not name.startswith("model_ema.")}
    for name, value in names.items():
        dtype = state[name].dtype if state[name].dtype in SMALL else SMALL[0]
        state[name] = value.detach().to("cpu", dtype)
    return state


def _shaped(key: str, factor: torch.Tensor, weight: torch.Size) -> torch.Tensor:
    """A LoRA's factor beside a ``weight``, trained as a matrix; in files, those of a convolution are two convolutions."""
    if len(weight) == 4 and key == "lora_down.weight":
        return factor.unflatten(1, weight[1:])
    return factor[:, :, None, None] if len(weight) == 4 and key == "lora_up.weight" else factor


def _first() -> str:
    return FIRST.removesuffix(".weight")


def _write(state: dict[str, torch.Tensor], path: Path, said: Trained) -> Path:
    with whole(path) as part:
        save_file({name: value.clone().contiguous() for name, value in state.items()}, part, said.metadata())
    return path
