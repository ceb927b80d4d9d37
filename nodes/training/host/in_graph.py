"""The callable layer of the node: a training that a graph starts, that shows itself, and that the host can stop."""

from __future__ import annotations

import copy
import gc
import inspect
from dataclasses import dataclass, field
from pathlib import Path

import comfy.model_management
import comfy.sd
import comfy.utils
import torch
from PIL import Image

from ...data.mixing import Mixture
from ...data.opening import open_source
from ...joint.host import strip
from .. import processes as running
from ..loop import Loop
from ..settings import Settings
from . import places, sheets, training
from .base import NAME, base_of
from .network import Network
from .step import Sets


def train(
    model, clip, vae, data: str, name: str, settings: Settings, every: int, accumulate: int = 1, node: str | None = None
) -> tuple[object, Path, list[Image.Image]]:
    """A LoRA trained on ``model``, which stays as it is: the model with it, its file, and the curve and last sheet.

    data: sources, one a line, see `places`. every: steps between two sheets, 0 shows only the curve. node: of the graph, to be
    shown in. Stopped by the host, it writes its state and what it has learned, and then stops the graph; run again with the same
    choices, it goes on.
    """
    output = places.output(name)
    folder = places.state_folder(name)
    if output.exists() and not (folder / f"{output.stem}.pt").exists():
        raise ValueError(f"{NAME}: {output} is there and was not trained here. Give another `name`, or remove the file.")
    shown = Shown(settings.steps, node)
    try:
        with torch.inference_mode(False):
            _train(model, clip, vae, places.sources(data), output, folder, settings, every, accumulate, shown)
    finally:
        gc.collect()  # what was trained stood in a circle of hooks
        comfy.model_management.soft_empty_cache()
    shown.end()  # what was stopped stays in sight
    lora = comfy.utils.load_torch_file(str(output), safe_load=True)
    return comfy.sd.load_lora_for_models(model, None, lora, 1.0, 0.0)[0], output, shown.pictures()


def _train(
    model, clip, vae, specs: list[str], output: Path, folder: Path, settings: Settings, every: int, accumulate: int, shown: Shown
) -> None:
    source = Mixture([open_source(spec) for spec in specs], settings.seed)
    base = base_of(own(model), clip, vae, Path("the model"))
    if every:
        shown.sets = sheets.first_sets(base, [open_source(spec) for spec in specs], settings, places.cache())
    training.train(
        base, settings, source, output, folder=folder, progress=lambda step, line: None, cache=places.cache(),
        processes=running.Processes(accumulate, comfy.model_management.get_torch_device()),
        watchers=((1, shown.record), *(((every, shown.paint),) if every else ())),
    )  # fmt: skip


def own(model):
    """A copy of a MODEL whose weights are nobody else's. Raises ValueError for one that carries what other nodes put there."""
    carried = [*model.patches, *model.object_patches, *model.model_options.get("transformer_options", {})]
    if carried or model.hook_patches:
        raise ValueError(
            f"{NAME}: the model carries what other nodes put on it (such as {carried[0] if carried else 'a hook'}), which would "
            "be trained into the LoRA or be lost. Connect it straight to Load Checkpoint."
        )
    if "force_deepcopy" not in inspect.signature(model.clone).parameters:  # ComfyUI 0.16.3
        comfy.model_management.unload_all_models()  # a sampler put LoRAs into the weights that all clones share
        copied = model.clone()
        config = model.model.model_config  # it has an answer for every name, also for those that copying asks for
        own_config = object.__new__(type(config))
        vars(own_config).update(copy.deepcopy(vars(config)))
        copied.model = copy.deepcopy(model.model, {id(config): own_config})
        return copied
    try:
        return model.clone(disable_dynamic=True, force_deepcopy=True)
    except RuntimeError as problem:
        raise ValueError(
            f"{NAME}: the model cannot be copied to be trained, since its loader does not say how to load it again. Connect Load "
            "Checkpoint in its place."
        ) from problem


@dataclass(eq=False)
class Shown:
    """A training as its node shows it. ``sets``: what sheets are painted of."""

    steps: int
    node: str | None
    sets: Sets | None = None
    losses: list[float] = field(default_factory=list)
    first: int = 0
    last: Image.Image | None = None

    def __post_init__(self):
        self.bar = comfy.utils.ProgressBar(self.steps)
        self.send = strip.sender(self.node)

    def record(self, network: Network, loop: Loop) -> None:
        if not self.losses:
            self.first = loop.done - 1
        self.losses.append(loop.last.get("loss", 0.0))
        self.bar.update_absolute(loop.done)
        if loop.done == 1 or loop.done % 10 == 0:
            self._show(loop.done)

    def paint(self, network: Network, loop: Loop) -> None:
        assert self.sets is not None
        self.last = sheets.drawn(network, loop, self.sets)
        self._show(loop.done)

    def _show(self, done: int) -> None:
        if self.send:
            shown = sheets.together(self.pictures())
            self.send(picture=strip.jpeg(shown), size=shown.size, step=done, steps=self.steps)

    def pictures(self) -> list[Image.Image]:
        """The curve and, where there is one, the last sheet."""
        return [sheets.curve(self.losses, self.steps, self.first), *([self.last] if self.last else [])]

    def end(self) -> None:
        if self.send:
            self.send(picture=None)
