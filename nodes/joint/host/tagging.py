"""The conditioning of a run: checked against its joint set, and tagged with what each row and term is."""

from __future__ import annotations

import uuid

import comfy.conds
import torch

from ...host import chunk_tags
from .. import guidance
from ..layout import JointSet, Layout

SET_KEY = "same_subject_set"
"""Key of a conditioning entry that names the joint set it was made for."""
TAG = "same_subject_rows"
"""Model conditioning [B, 2]: a row's position in the set's batch, and 1 if its term has null references under image guidance."""
PARTIAL = "same_subject_partial"
"""The conditioning of e1 (equation 4), beside the guider's own."""


def tag(conds: dict[str, list[dict]], joint_set: JointSet, mode: str, channels: torch.Tensor | None) -> dict[str, list[dict]]:
    """Copies of a guider's ``conds`` with the tags of every term, and e1 beside them where the mode has one.

    channels: what a 9-channel UNet gets beside the noisy latents, `channels.reference_channels`.
    """

    def tagged(name: str, null: bool) -> list[dict]:
        return [_tagged(name, cond, null, joint_set, channels) for cond in conds[name]]

    result = {name: tagged(name, mode != guidance.TEXT_ONLY and name in chunk_tags.NULL_TERMS) for name in conds}
    if mode == guidance.TEXT_FIRST:
        result[PARTIAL] = [_beside(cond, "positive") for cond in tagged("positive", True)]
    if mode == guidance.IMAGE_FIRST:
        result[PARTIAL] = [_beside(cond, "negative") for cond in tagged("negative", False)]
    return result


def _tagged(name: str, cond: dict, null: bool, joint_set: JointSet, channels: torch.Tensor | None) -> dict:
    layout = joint_set.layout
    if cond.get(SET_KEY, joint_set.key) != joint_set.key:
        raise ValueError(
            f"JeDi: the {name} conditioning was made by another Joint Set than `joint_set`. Connect both from the same node."
        )
    for key in ("cross_attn", "pooled_output"):
        value = cond.get(key)
        if isinstance(value, torch.Tensor) and value.shape[0] not in (1, layout.rows):
            raise ValueError(
                f"JeDi: the {name} conditioning has {value.shape[0]} rows, but its joint set needs 1 or {layout.describe()}. "
                "Connect `positive` and `negative` of the same Joint Set."
            )
    rows = torch.stack((torch.arange(layout.rows), torch.full((layout.rows,), int(null))), dim=1)
    cond = {**cond, "model_conds": {**cond["model_conds"], TAG: comfy.conds.CONDRegular(rows)}}
    if channels is not None:
        cond["noise_concat"] = channels
    return cond


def _beside(cond: dict, prompt_type: str) -> dict:
    """A copy that the host can tell apart; it names conditioning after its key in the guider unless told."""
    return {"prompt_type": prompt_type, **cond, "uuid": uuid.uuid4()}


def null_chunks(rows: torch.Tensor | None, given: int, layout: Layout) -> list[bool]:
    """For each chunk of a UNet batch of ``given`` rows, whether its term has null references under image guidance.

    rows: the batch's TAG. Raises if the chunks are not whole sets in order.
    """
    if rows is None:
        raise ValueError(
            "JeDi: the model was called with a conditioning that did not come through the sampler, for example by the "
            "deprecated node Perp-Neg. Remove that node (Perp-Neg Guider works)."
        )
    whole = rows.shape[0] == given and given % layout.rows == 0
    if not whole or not torch.equal(rows[:, 0].cpu(), torch.arange(layout.rows).repeat(given // layout.rows)):
        raise ValueError(
            f"JeDi: the UNet got {given} rows that are not whole joint sets of {layout.describe()}. Context windows, or "
            "another node that cuts or reorders the batch while sampling, is on the model; remove it."
        )
    return [bool(flag) for flag in rows[:: layout.rows, 1]]
