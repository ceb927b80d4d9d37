"""Putting a person on a model and its conditioning: what the nodes `Apply Identity` and `Identity ControlNet` do."""

from __future__ import annotations

import torch

from ...host import inputs
from .. import adapter as adapters
from ..faces import Identity
from ..placement import Placement
from . import face_control, files
from .sampling import IdentitySampling, cross_attention_layers


def add_to_model(
    model,
    adapter: files.LoadedAdapter,
    identity: Identity,
    strength: float = 0.8,
    start: float = 0.0,
    end: float = 1.0,
    mask: torch.Tensor | None = None,
):
    """A clone of the ModelPatcher ``model`` with one more identity on it; the one given stays as it was.

    start, end: shares of the schedule in 0..1. mask: [P, H, W] in 0..1, where it acts, one for all rows or one each.
    Raises ValueError where the adapter does not fit the model, the mask is black everywhere, or numbers are none.
    """
    inputs.check_number(strength, "Apply Identity: `weight`")
    adapters.check_layers(adapter.adapter.channels, cross_attention_layers(model))
    mask = _as_masks("Apply Identity", mask)
    new = Placement(files.project(adapter, identity), strength, mask, start, end)
    return IdentitySampling((*IdentitySampling.on(model).identities, new)).install(model)


def add_control(
    positive: list,
    negative: list,
    control_net,
    adapter: files.LoadedAdapter,
    identity: Identity,
    keypoints: torch.Tensor,
    strength: float = 0.8,
    start: float = 0.0,
    end: float = 1.0,
    mask: torch.Tensor | None = None,
) -> list[list]:
    """Copies of two CONDITIONING lists with the face ControlNet on them: the person's face, and nobody's.

    keypoints: pictures [P, H, W, 3] in 0..1, one for all rows or one each. The rest as in `add_to_model`.
    """
    face_control.check(control_net, adapter.width)
    inputs.check_number(strength, "Identity ControlNet: `strength`")
    inputs.check_finite(keypoints, "Identity ControlNet: `keypoints`")
    mask, hint = _as_masks("Identity ControlNet", mask), keypoints[..., :3].movedim(-1, 1)
    each = [face_control.ControlFace(tokens, hint, mask) for tokens in files.face_tokens(adapter, identity)]
    return face_control.apply((positive, negative), control_net, strength, start, end, each)


def _as_masks(node: str, mask: torch.Tensor | None) -> torch.Tensor | None:
    """[P, H, W], or None."""
    return None if mask is None else inputs.acting_mask(mask, f"{node}: `mask`")
