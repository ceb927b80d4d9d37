"""A person put on a model and its conditioning in one go, as nodes of ComfyUI_InstantID do, by the functions of our own."""

from __future__ import annotations

from dataclasses import dataclass

import node_helpers
import torch

from ...host import inputs
from ...host.speaking import said_by
from .. import faces, keypoints, recognising
from . import applying, files

CONCAT = "concat"
"""Their third way to combine pictures, for which there is nothing here."""
PARTS = ("Apply Identity", "Identity ControlNet")
"""Our nodes, whose functions speak for theirs."""
DRAWN = 0.5
"""A picture without a face of which more is purely black is a drawing of keypoints."""


@dataclass(frozen=True, eq=False)
class FaceEmbeds:
    """What InstantID Patch Attention hands to InstantID Apply ControlNet: a person, and the adapter that reads it."""

    adapter: files.LoadedAdapter
    person: faces.Identity


@dataclass(frozen=True, eq=False)
class Window:
    """start, end: shares of the schedule in 0..1. mask: [P, H, W] or [H, W] in 0..1, or None for everywhere."""

    start: float = 0.0
    end: float = 1.0
    mask: torch.Tensor | None = None


def recognise(node: str, analysis, pictures: torch.Tensor, noise: float, combine: str = faces.AVERAGE) -> faces.Identity:
    """The person with the largest face of each of the pictures [B, H, W, 3], with ``noise`` in nobody's face."""
    if combine == CONCAT:
        if len(pictures) > 1:
            raise ValueError(
                f"{node}: `combine_embeds` is `{CONCAT}` for {len(pictures)} pictures, but several embeddings side by side "
                f"are not possible here. Choose `{faces.AVERAGE}` or `{faces.NORM_AVERAGE}`."
            )
        combine = faces.AVERAGE
    return faces.gather(recognising.choose_in_pictures(node, analysis, list(pictures), faces.Choice()), combine, noise)


def first(person: faces.Identity) -> torch.Tensor:
    """The keypoint picture [1, H, W, 3] of the person's first face."""
    face = person.faces[0]
    return keypoints.draw([face.keypoints], face.width, face.height)[None]


def drawn(node: str, analysis, pictures: torch.Tensor, name: str) -> torch.Tensor:
    """Keypoint pictures [B, H, W, 3] of the largest face in each of ``pictures`` [B, H, W, 3 or 4].

    A picture that is such a drawing is taken as it is. Raises ValueError for one that has no face and is none. name: of the
    pictures, for errors.
    """
    result = []
    for picture in pictures[..., :3]:
        found = analysis.faces(picture)
        if not found and (picture == 0).all(-1).float().mean() > DRAWN:
            result.append(picture)
            continue
        face = faces.choose(found, faces.Choice(), node, f"{name} {len(result) + 1} of {len(pictures)} (counted from 1)")
        result.append(keypoints.draw([face.keypoints], face.width, face.height).to(picture))
    return torch.stack(result)


def on_model(node: str, model, embeds: FaceEmbeds, strength: float, window: Window):
    """A clone of the ModelPatcher ``model`` with the person on it, as `Apply Identity` gives it."""
    with said_by(node, PARTS):
        return applying.add_to_model(model, embeds.adapter, embeds.person, strength, window.start, window.end, window.mask)


def on_conditioning(
    node: str,
    positive: list,
    negative: list,
    embeds: FaceEmbeds,
    control_net,
    hint: torch.Tensor,
    strength: float,
    window: Window,
) -> list[list]:
    """Two CONDITIONING lists with the face ControlNet, as `Identity ControlNet` gives them without a mask.

    hint: keypoint pictures [B, H, W, 3]. With a mask, all of ``positive`` counts there only, as after Conditioning (Set Mask).
    """
    with said_by(node, PARTS):
        how = strength, window.start, window.end
        positive, negative = applying.add_control(positive, negative, control_net, embeds.adapter, embeds.person, hint, *how)
        if window.mask is not None:
            mask = inputs.acting_mask(window.mask, f"{node}: `mask`")
            positive = node_helpers.conditioning_set_values(positive, {"mask": mask, "set_area_to_bounds": False})
        return [positive, negative]
