"""Write the demo's Subject-Diffusion as `demo/subjects.safetensors`: what differs from the model of scenes, half precision."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from ..nodes.subject import about as abouts
from ..nodes.subject import files
from . import image_encoder, nets, subject_data, train_subjects
from .export import ROOT

FILE = ROOT / "demo" / "subjects.safetensors"


def about(recipe: train_subjects.Recipe, steps: int) -> abouts.About:
    """What a file of networks that were trained by ``recipe`` says of itself."""
    return abouts.About(
        family=abouts.DEMO,
        base="demo/scenes.safetensors",
        sizes=train_subjects.sizes(nets.unet({**nets.UNET, "in_channels": 4})),
        slots=subject_data.SLOTS,
        placeholder=subject_data.PLACEHOLDER,
        placeholder_token=subject_data.PLACEHOLDER_TOKEN,
        box_of_one=True,
        location=recipe.location,
        cls=recipe.cls,
        boxes=recipe.boxes,
        text_config={"l": nets.CLIP},
        image_encoder=image_encoder.CONFIG,
        steps=steps,
    )


def weights(trained: dict[str, dict[str, torch.Tensor]], encoder: dict[str, torch.Tensor], words: torch.Tensor) -> dict:
    """The file's weights. trained: `train_subjects.load`. encoder: of images. words: tokens that a caption uses, the others are
    left out: they were never trained."""
    state = {**trained["adapter"], **{f"vision.{key}": value for key, value in encoder.items()}}
    state |= {f"text.l.{key}": value for key, value in trained["text"].items()}
    table = f"text.l.text_model.{files.TABLE}"
    state[table] = state[table][words]
    return {**{key: value.half().contiguous() for key, value in state.items()}, table + files.ROWS: words.int()}


def export(
    folder: str, name: str = "subjects", recipe: train_subjects.Recipe | None = None, path: Path = FILE, data: Path | None = None
) -> None:
    """Write ``path`` (safetensors) from the state of a training run, see `train_subjects.train`."""
    texts = subject_data.Texts.of_the_world() if data is None else subject_data.Texts(subject_data.captions(data))
    words = texts.tokens.unique()
    state = weights(train_subjects.load(folder, name), image_encoder.load(folder).state_dict(), words)
    said = about(recipe or train_subjects.Recipe(), train_subjects.steps_of(folder, name))
    files.whole(said, state)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, path, abouts.metadata(said))
