"""What a step of training takes: of a GPU's memory for usual choices, counted on models without numbers; or measured here."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import comfy.model_management
import torch

from ..dev.benchmark import models
from ..nodes.training import memory as counting
from ..nodes.training.host import base as bases
from ..nodes.training.host import memory
from ..nodes.training.host.network import Network
from ..nodes.training.host.step import step
from ..nodes.training.loop import Loop
from ..nodes.training.processes import Processes
from ..nodes.training.settings import FULL, LORA, Settings

LAYOUTS = {"sd15": ("SD 1.5", 512, 12), "sdxl": ("SDXL", 1024, 24)}
"""What people say; side of its pictures; the GPU, in GiB, that a LoRA shall be trained on."""
TIMED = 3
"""Steps on a GPU, of which the last is timed: the first ones choose kernels."""


def rows() -> Iterator[tuple[str, counting.Estimate, int]]:
    """Of one set of 2 pictures: what is trained, what it takes, and the GiB that it shall stay within (0: none are named)."""
    for layout, (said, side, most) in LAYOUTS.items():
        for method in (LORA, FULL):
            for saving in (False, True):
                settings = Settings(method, rows=2, sizes=(0.0, 1.0), side=side, saving=saving)
                found = memory.estimate(models.UNETS[layout], settings, kept_in(method))
                rank = f" of rank {settings.rank}" if method == LORA else ""
                name = f"{said}, {method}{rank}, sets of 2 at {side}" + ", --save-memory" * saving
                yield name, found, most if method == LORA else 0


def kept_in(method: str, mixed: bool = True) -> torch.dtype:
    """Precision of the model's weights: those that are trained need all of theirs, and so do all where the forward pass is not in
    mixed precision."""
    return torch.float32 if method == FULL or not mixed else torch.bfloat16


def show() -> None:
    """Print the table."""
    print("Counted on models without numbers, with a tenth for what kernels need and 0.6 GiB for a GPU's own libraries:")
    for name, found, most in rows():
        within = "" if not most else f"; {'within' if found.whole <= most * 2**30 else 'MORE THAN'} {most} GiB"
        print(f"{name}: {found.text()}{within}", flush=True)


@dataclass(frozen=True)
class Measured:
    """counted: before the step. activations: bytes that it held at most beside weights, gradients and averages. seconds: of one
    step, with that of the optimiser. peak: of a GPU's allocator, 0 on a CPU.
    """

    counted: counting.Estimate
    activations: int
    seconds: float
    peak: int


def measure(layout: str, settings: Settings) -> Measured:
    """Train a UNet of full size with random weights for a step here, on one batch of random latents. layout: of LAYOUTS.

    Raises ValueError where there is not so much memory.
    """
    processes = Processes()
    device, dtype = processes.device, kept_in(settings.method)
    counted = memory.estimate(models.UNETS[layout], settings, dtype)
    memory.check(counted, device)
    patcher = models.model(layout, device)
    patcher.model.diffusion_model.to(dtype)
    base = bases.base_of(patcher, None, None, Path(f"{layout}.safetensors"))
    network = Network(base, settings)
    memory.as_on_gpu(base.unet)
    sets, generator = memory.batch(models.UNETS[layout], settings), torch.Generator().manual_seed(0)

    def forward() -> torch.Tensor:
        return step(network, sets, base.schedule, generator, processes.autocast).loss

    with tempfile.TemporaryDirectory() as folder:
        loop = Loop(folder, layout, {"network": network}, settings.rate, 10**6, 0, 10**6, settings.decay, processes=processes)
        trained = [weight for weight in network.parameters() if weight.requires_grad]
        if device.type == "cpu":  # the count takes a step of its own, since it costs time
            activations, times = counting.counted(forward, trained, "cpu"), 1
        else:
            activations, times = 0, TIMED
        for _ in range(times):
            begun = time.perf_counter()
            loop.learn(forward(), {})
            if device.type != "cpu":
                torch.cuda.synchronize()
        peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else 0
    return Measured(counted, activations, time.perf_counter() - begun, peak)


def show_measured(layout: str, settings: Settings) -> None:
    """Print what `measure` finds, of sets of 2, beside what was counted."""
    settings = replace(settings, sizes=(0.0, 1.0))
    name, device = f"{LAYOUTS[layout][0]} with random weights, {settings.method}", comfy.model_management.get_torch_device()
    print(f"{name}, {settings.rows} pictures of {settings.side} x {settings.side}, one step on {device}:", flush=True)
    found = measure(layout, settings)
    print(f"counted before: {found.counted.text()}")
    if found.peak:
        print(f"measured: {found.peak / 2**30:.2f} GiB at most by torch's allocator, {found.seconds:.2f} seconds")
    else:
        print(f"measured: activations {found.activations / 2**30:.2f} GiB, {found.seconds:.1f} seconds")
