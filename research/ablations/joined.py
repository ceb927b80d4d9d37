"""Sets of two subjects made by joining sets (JeDi, section 8): the demo's joint-image model, trained on with `joined:` data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch

from ...nodes.data.joined import AND
from ...nodes.data.mixing import Mixture
from ...nodes.data.opening import open_source
from ...nodes.demo.host import model as demo_model
from ...nodes.demo.toys import SIDE
from ...nodes.joint import references
from ...nodes.joint.host import sets
from ...nodes.training.host import base, training
from ...nodes.training.host.network import Network
from ...nodes.training.settings import FULL, Settings
from .. import export, world
from ..drawn_sets import KINDS
from ..held_out import HeldOut
from .arms import JOINED

DATA = "joined:demo:"


def settings(steps: int) -> Settings:
    """Of the training: as many pixels a step as the demo's own training has, twice as wide."""
    return Settings(
        FULL, steps=steps, rate=3e-4, rows=16, sizes=(0.0, 0.5, 0.25, 0.25), side=SIDE * 3 // 2, buckets=True, every=100,
        decay=0.99, warm_up=50, head_start=True, data=DATA,
    )  # fmt: skip


def file_of(folder: Path, steps: int) -> Path:
    return folder / f"joined-sets-{steps}.safetensors"


def train(folder: Path, steps: int) -> Path:
    """Train the demo's joint-image model on joined sets and write a demo model's file; a run that was stopped goes on."""
    path = file_of(folder, steps)
    if not path.is_file():
        start = base.base_of(*demo_model.load(export.FILES["joint"]), export.FILES["joint"])
        training.train(start, settings(steps), Mixture([open_source(DATA, more=KINDS)], 0), path, folder=folder, write=write)
    return path


def write(network: Network, path: Path, steps: int, trained: Mapping[str, torch.Tensor]) -> None:
    """The demo's joint-image model with the weights that were trained, whole."""
    said = {"same_subject.ablation": json.dumps({"arm": JOINED, "steps": steps})}
    export.save_whole(export.FILES["joint"], trained, path, said)


def prompt(pair: HeldOut) -> str:
    """What is asked for, in the words of joined captions: each subject in the one scene."""
    shapes = [world.SHAPES.index(caption.split()[4]) for caption in pair.captions]
    return AND.join(world.caption(shape, pair.scene) for shape in shapes)


def prepared(clip, vae, pair: HeldOut):
    """A set of one picture to generate, of both subjects, and one reference: their pictures side by side."""
    seen = torch.cat(tuple(pair.views), dim=2).movedim(0, -1)
    shown = references.gather([seen], [], [AND.join(pair.captions)], "crop", "grey", True)
    return sets.prepare(clip, vae, shown, [prompt(pair)], "", 1, 2 * SIDE, SIDE)
