"""What a training takes of a GPU, counted before it begins on a model of the same shape that holds no numbers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import comfy.model_management
import comfy.ops
import torch
import torch.nn.functional as F
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from torch._subclasses.fake_tensor import FakeTensorMode

from ...joint import settings as joint
from ...joint import trained
from .. import memory
from ..processes import Processes
from ..settings import Settings
from .base import LATENT, NAME, Base
from .network import Network
from .step import Sets, step

FACTOR = 8
"""Pixels of a latent's side, of Stable Diffusion's VAEs."""
TOKENS = 77
SMALL = 50_000_000


def as_on_gpu(unet: torch.nn.Module) -> None:
    """Norms in single precision, as mixed precision has them on a GPU. Fake tensors stand on the CPU, which has them in half."""
    for layer in unet.modules():
        if isinstance(layer, (torch.nn.GroupNorm, torch.nn.LayerNorm)):
            layer.forward = partial(_norm, layer)  # type: ignore[method-assign]


def _norm(layer: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    weight, bias = (None if given is None else given.float() for given in (layer.weight, layer.bias))
    if isinstance(layer, torch.nn.GroupNorm):
        return F.group_norm(x.float(), layer.num_groups, weight, bias, layer.eps)
    return F.layer_norm(x.float(), layer.normalized_shape, weight, bias, layer.eps)


def estimate(
    config: Mapping[str, Any], settings: Settings, dtype: torch.dtype, factor: int = FACTOR, shards: int = 1, mixed: bool = True
) -> memory.Estimate:
    """Of a UNet with the host's ``config``, whose weights are kept in ``dtype``. factor: pixels of a latent's side. shards: what
    one of so many processes takes, see `processes.Sharded`. mixed: see `processes.Processes`.

    A step is the one that is trained, with its gradient, of the largest batch that is met. Nothing of the model is needed, and
    nothing of its size is held.
    """
    channels = config["in_channels"]
    given = {name: value for name, value in config.items() if name not in ("dtype", "device")}
    with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng([]):
        unet = UNetModel(**given, dtype=dtype, device="meta", operations=comfy.ops.disable_weight_init)
        described = SimpleNamespace(diffusion_model=unet, model_config=SimpleNamespace(unet_config=dict(config)))
        order = None if channels == LATENT else joint.CHANNEL_ORDERS[0]
        base = Base(SimpleNamespace(model=described), None, None, Path("model"), channels, order, trained.EPS)
        network = Network(base, settings)
        with FakeTensorMode(allow_non_fake_inputs=True):
            found = _counted(config, network, unet, factor, mixed)
    return found.shared(shards, _at_a_time(network)) if shards > 1 else found


def _at_a_time(network: Network) -> int:
    """Bytes of what is whole of a network in shards, with gradients: the block at work, the next one, and what is in no block."""
    *blocks, unet = (sum(weight.nbytes for weight in part.parameters()) for part in network.parts())
    return 2 * (unet - sum(blocks) + 2 * max(blocks))


def _counted(config: Mapping[str, Any], network: Network, unet: torch.nn.Module, factor: int, mixed: bool) -> memory.Estimate:
    """Of a network without numbers, in the mode that gives its tensors shapes alone."""
    settings = network.settings
    _stand_in((unet, network))
    as_on_gpu(unet)
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    weights = {id(w): w.nbytes for part in (unet, network) for w in (*part.parameters(), *part.buffers())}
    for parameter in parameters:
        weights.pop(id(parameter))
    states = memory.of_trained(parameters, bool(settings.decay), settings.optimiser == "adamw8bit")
    sets, schedule, generator = batch(config, settings, factor), torch.linspace(0.99, 0.01, 1000), torch.Generator()

    def forward() -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed):
            return step(network, sets, schedule, generator).loss

    return memory.Estimate(sum(weights.values()), states, memory.counted(forward, parameters, "cpu"))


def _stand_in(parts: tuple[torch.nn.Module, ...]) -> None:
    """Put tensors of the mode that is on in the place of a model's weights, shared where those are."""
    made: dict[int, torch.Tensor] = {}
    for module in (module for part in parts for module in part.modules()):
        for name, weight in module._parameters.items():
            if weight is not None and id(weight) not in made:
                made[id(weight)] = torch.nn.Parameter(torch.empty(weight.shape, dtype=weight.dtype), weight.requires_grad)
                made[id(made[id(weight)])] = made[id(weight)]
            if weight is not None:
                module._parameters[name] = made[id(weight)]
        for name, weight in module._buffers.items():
            if weight is not None:
                module._buffers[name] = made.setdefault(id(weight), torch.empty(weight.shape, dtype=weight.dtype))


def batch(config: Mapping[str, Any], settings: Settings, factor: int = FACTOR) -> Sets:
    """A batch of zeros, the largest that is met: of most pictures, which are not always in the largest sets."""
    rows, pictures = max((settings.sets(size) * size, size) for size in settings.set_sizes)
    side = settings.side // factor
    width = config["context_dim"]
    wide = (width[0] if isinstance(width, (list, tuple)) else width) or 768
    extra = config.get("adm_in_channels")
    y = torch.zeros(rows, extra) if extra else None
    return Sets(
        torch.zeros(rows, LATENT, side, side), torch.zeros(rows, TOKENS, wide), torch.zeros(1, TOKENS, wide), pictures, y, y
    )


def check_before(base: Base, settings: Settings, processes: Processes) -> memory.Estimate | None:
    """As `check`, of training a ``base``; returns what was counted. One of fewer than SMALL weights is let through with None:
    to count would take longer than a step.
    """
    config, weights = base.patcher.model.model_config.unet_config, list(base.unet.parameters())
    if sum(weight.numel() for weight in weights) < SMALL:
        return None
    factor, device = base.vae.spacial_compression_encode(), processes.device
    found = estimate(config, settings, weights[0].dtype, factor, processes.shards, processes.mixed)
    check(found, device, found.weights if device.type == "cpu" else 0)
    return found


def make_room(found: memory.Estimate | None, network: Network, device: torch.device, first: bool) -> None:
    """Let the host unload what a step has no room beside, such as the text encoder and the VAE that its batch was encoded with.

    found: by `check_before`. first: of the steps of this process, before which there are no averages.
    """
    if found is None or device.type == "cpu":
        return
    gradients = sum(weight.nbytes for weight in network.parameters() if weight.requires_grad)
    needed = found.activations + (found.trained if first else gradients)
    comfy.model_management.free_memory(memory.BESIDE * needed, device)


def check(found: memory.Estimate, device: torch.device, loaded: int = 0) -> None:
    """Make room for a training on ``device``. Raises ValueError where there will not be enough. loaded: bytes that are there."""
    needed = found.whole - loaded
    if device.type != "cpu":
        comfy.model_management.free_memory(needed, device)
    free = comfy.model_management.get_free_memory(device)
    if free < needed:
        raise ValueError(
            f"{NAME}: about {found.whole / 2**30:.1f} GiB are needed ({found.text()}; counted before the start), but of {device} "
            f"{(free + loaded) / 2**30:.1f} GiB can be had. Save memory by computing activations again, train smaller pictures "
            "or fewer at a time, a LoRA of a lower rank in place of all weights, or adamw8bit."
        )
