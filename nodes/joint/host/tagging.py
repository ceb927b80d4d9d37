"""The conditioning of a run: checked against its joint set, and tagged with what each row and term is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import comfy.conds
import torch

from ...host import chunk_tags
from .. import guidance
from ..layout import JointSet, Layout
from ..prompts import MOST_TOKENS, Tokens

SET_KEY = "same_subject_set"
"""Key of a conditioning entry that names the joint set it was made for."""
TAG = "same_subject_rows"
"""Model conditioning [B, 3]: a row's position in the set's batch; 1 if its term has null references under image guidance; 1 if
some conditioning of the run is about an area of the picture."""
TOKENS = "same_subject_tokens"
"""`prompts.Tokens` of texts that were padded: in a conditioning entry, and as a tag of every chunk (None where none was)."""
WORDS = "same_subject_words"
"""`places.Words` as a tag of every chunk (None where it is not the full conditional term of the set's own texts)."""
RECORDED = "same_subject_recorded"
"""A tag of every chunk of a run that is recorded: whether it is the full conditional term."""
PARTIAL = "same_subject_partial"
"""The conditioning of e1 (equation 4), beside the guider's own."""
Channels = Callable[[dict], torch.Tensor]
"""Of a conditioning entry, what a 9-channel UNet gets beside the noisy latents under it: [B, C + 1, h, w]."""


def tag(
    conds: dict[str, list[dict]], joint_set: JointSet, mode: str, channels: Channels | None, recorded: bool = False
) -> dict[str, list[dict]]:
    """Copies of a guider's ``conds`` with the tags of every term, and e1 beside them where the mode has one.

    channels: for a 9-channel UNet. recorded: whether chunks say which of them are recorded.
    """
    conds = {name: [_with_tokens(name, cond, joint_set.layout) for cond in entries] for name, entries in conds.items()}
    every = [cond for entries in conds.values() for cond in entries]
    if any("control" in cond for cond in every) and any(TOKENS in cond for cond in every):
        conds = _for_controlnets(conds)

    areas = bool(with_areas(conds))

    def tagged(name: str, null: bool) -> list[dict]:
        made = [_tagged(name, cond, null, areas, joint_set, channels) for cond in conds[name]]
        return [chunk_tags.tagged(cond, RECORDED, not null and name == "positive") for cond in made] if recorded else made

    result = {name: tagged(name, mode != guidance.TEXT_ONLY and name in chunk_tags.NULL_TERMS) for name in conds}
    if mode == guidance.TEXT_FIRST:
        result[PARTIAL] = [chunk_tags.beside(cond, "positive") for cond in tagged("positive", True)]
    if mode == guidance.IMAGE_FIRST:
        result[PARTIAL] = [chunk_tags.beside(cond, "negative") for cond in tagged("negative", False)]
    return result


def with_areas(conds: dict[str, list[dict]]) -> list[str]:
    """Names of conditioning that the host paints as a crop of the batch."""
    return [name for name, cond in conds.items() if any("area" in one or one.get("set_area_to_bounds") for one in cond)]


def has_own_texts(name: str, cond: dict) -> bool:
    """Whether a conditioning entry of this name in a guider has the prompts of a set, so far as that is known."""
    return name not in chunk_tags.NULL_TERMS and SET_KEY in cond


def _tagged(name: str, cond: dict, null: bool, areas: bool, joint_set: JointSet, channels: Channels | None) -> dict:
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
    rows = torch.tensor([(row, null, areas) for row in range(layout.rows)], dtype=torch.int64)
    cond = chunk_tags.tagged(cond, TOKENS, cond.get(TOKENS))
    cond["model_conds"][TAG] = comfy.conds.CONDRegular(rows)
    if joint_set.words is not None:
        own = not null and has_own_texts(name, cond)
        cond = chunk_tags.tagged(cond, WORDS, joint_set.words if own else None)
    if channels is not None:
        cond["noise_concat"] = channels(cond)
    return cond


def _with_tokens(name: str, cond: dict, layout: Layout) -> dict:
    """A copy whose TOKENS, if it has any, stand for every row of the batch."""
    tokens = cond.get(TOKENS)
    if tokens is None:
        return cond
    given = cond["cross_attn"].shape[1]
    if given != tokens.total:
        raise ValueError(
            f"JeDi: the {name} conditioning has {given} tokens, but Joint Set gave it {tokens.total}, padded because texts of "
            f"{_listed(tokens.own)} tokens have no short common multiple. Connect it without Conditioning (Concat) or the like, "
            "or give the texts of the set lengths that are alike."
        )
    return {**cond, TOKENS: Tokens(tokens.total, tokens.own * (layout.rows // len(tokens.own)))}


def _for_controlnets(conds: dict[str, list[dict]]) -> dict[str, list[dict]]:
    """Copies that give ControlNets, whose layers have no hooks, texts without padding."""
    lengths = {own for entries in conds.values() for cond in entries if TOKENS in cond for own in cond[TOKENS].own}
    common = math.lcm(*lengths)
    if common > MOST_TOKENS:
        raise ValueError(
            f"JeDi: a ControlNet would read texts of {_listed(lengths)} tokens, but needs a common multiple up to {MOST_TOKENS}; "
            "padded, they would not say the same. Shorten the longest prompts of the set, or remove the ControlNet."
        )

    def given(cond: dict) -> dict:
        states = cond["cross_attn"]
        if TOKENS in cond:
            states = cond[TOKENS].repeated(states, common)
        return {"cross_attn_controlnet": states, **cond}

    return {name: [given(cond) for cond in entries] for name, entries in conds.items()}


def _listed(lengths: Iterable[int]) -> str:
    return ", ".join(str(length) for length in sorted(set(lengths)))


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
            f"JeDi: the UNet got {given} rows that are not whole joint sets of {layout.describe()}. A node that cuts or "
            "reorders the batch while sampling is on the model; remove it. For a set that does not fit into memory use Context "
            "Windows (Manual), or make sets of fewer pictures."
        )
    return [bool(flag) for flag in rows[:: layout.rows, 1]]


def check_whole(rows: torch.Tensor, given: tuple[int, ...], needed: tuple[int, ...]) -> None:
    """Raise if a call is about a crop of the pictures though no conditioning is about an area.

    rows: the batch's TAG. given, needed: (channels, height, width) of the call and of the set.
    """
    if given != needed and not rows[0, 2]:
        raise ValueError(
            f"JeDi: the UNet got latents of {given[2]}x{given[1]}, but the joint set has {needed[2]}x{needed[1]}. A node that "
            "samples in tiles is on the model, and a tile would see the same crop of the references only. Remove it; for a set "
            "that does not fit into memory use Context Windows (Manual) with `dim` 0, or make sets of fewer pictures."
        )
