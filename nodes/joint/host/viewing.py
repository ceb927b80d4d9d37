"""Recording what a model's pictures attend to in each other, and showing what a point corresponds to: two callable layers."""

from __future__ import annotations

import hashlib
from pathlib import Path

import folder_paths
import torch

from ...host import small_pictures
from .. import correspondence, heat_maps
from ..layout import Layout
from ..recording import KEY, Recording

SHOWN = "same_subject_correspondence"
"""Under which the frontend finds, in what Show Correspondence shows, where pictures and tables are."""
MOST_SHOWN = 512
"""Longest side of a picture in the node's view, in pixels."""


def record(model, recording: Recording):
    """A clone of the ModelPatcher ``model`` whose runs of joint sets fill ``recording``; the one given stays as it was."""
    model = model.clone()
    options = model.model_options["transformer_options"]
    if KEY in options:
        raise ValueError(
            "Record Correspondence: the model is recorded already. Connect the model from before the other Record "
            "Correspondence, or remove this one."
        )
    model.model_options["transformer_options"] = {**options, KEY: recording}
    return model


def show(recording: Recording, samples: dict, vae, picture: int, x: float, y: float, level: str) -> tuple[torch.Tensor, dict]:
    """What a point of a ``picture``, counted from 1 through the whole batch, corresponds to in the others of its set.

    samples: the LATENT of the run that was recorded. Returns a picture [1, h, w, 3] of it, and for the frontend where it finds
    the pictures of all sets, and what of every cell corresponds to what. Raises ValueError for another run's.
    """
    latents = samples["samples"] if isinstance(samples, dict) else None
    if not torch.is_tensor(latents):
        raise ValueError("Show Correspondence: `samples` holds no latents. Connect the sampler's whole batch.")
    taken = recording.taken
    if taken is None:
        raise ValueError(
            "Show Correspondence: `recording` holds no run. Connect the MODEL of Record Correspondence, which must have gone "
            "through JeDi, to the sampler that gives `samples`. If it was, and ComfyUI dropped the recording to free memory, "
            "change the sampler's seed and run again."
        )
    if not taken.is_of(latents):
        raise ValueError(
            "Show Correspondence: `recording` is of another run than `samples`; it keeps the last one alone. Connect the whole "
            "batch of the last sampler that ran with this model, as it came out of it, or give each sampler its own Record "
            "Correspondence."
        )
    layout = taken.layout
    if not 1 <= picture <= layout.rows:
        raise ValueError(
            f"Show Correspondence: `picture` is {picture}, but there are {layout.describe()}. Give 1 to {layout.rows}."
        )
    for name, value in (("x", x), ("y", y)):
        if not 0 <= value <= 1:
            raise ValueError(f"Show Correspondence: `{name}` is {value}, but needs to be a share of the picture's side, 0 to 1.")
    number, chosen = divmod(picture - 1, layout.size)
    tables = [correspondence.table(taken, each, level) for each in range(layout.sets)]
    pictures = vae.decode(latents).float().cpu().clamp(0, 1)
    own = pictures[number * layout.size : (number + 1) * layout.size]
    shown = heat_maps.drawn(own, tables[number], chosen, x, y)
    return shown, {SHOWN: [_described(layout, tables, pictures)]}


def _described(layout: Layout, tables: list[correspondence.Table], pictures: torch.Tensor) -> dict:
    height, width = tables[0].shape
    return {
        "sets": layout.sets,
        "pictures": layout.pictures,
        "references": layout.references,
        "height": height,
        "width": width,
        "shown": small_pictures.save([small_pictures.small(each, MOST_SHOWN) for each in pictures]),
        "tables": [_saved(table) for table in tables],
    }


def _saved(table: correspondence.Table) -> dict:
    """A table's bytes in the host's temporary folder, under a name made of them; where the frontend can fetch them."""
    held = table.values.contiguous().numpy().tobytes()
    name = f"same_subject_{hashlib.sha256(held).hexdigest()[:24]}.bin"
    path = Path(folder_paths.get_temp_directory()) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        part = path.with_suffix(".part")
        part.write_bytes(held)
        part.replace(path)
    return {"filename": name, "subfolder": "", "type": "temp"}
