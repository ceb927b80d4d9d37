"""What Reference Pictures and Joint Set show of their rows: small pictures in the host's temporary folder, and words."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ...host import small_pictures
from ..ordering import ordered
from ..references import Reference
from .sets import Prepared

ROWS = "same_subject_rows"
"""Under which the frontend finds rows in what a node shows."""
VEIL = (0.95, 0.2, 0.55, 0.6)
"""Colour and opacity of what a mask leaves out."""


def of_references(references: Sequence[Reference], before: int, order: str) -> dict:
    """Rows of the references that a node gathered, in the set after ``before`` others. order: in which they were brought.

    Each has its number in the set and, as `given`, that of its picture among the inputs, both counted from 1.
    """
    given = ordered(range(1, len(references) + 1), order)
    said = [
        {**_about(one, before + place), "given": given[place - 1], "size": [one.picture.shape[1], one.picture.shape[0]],
         "fit": one.fit}
        for place, one in enumerate(references, 1)
    ]  # fmt: skip
    return {ROWS: _with_pictures(said, [one.picture for one in references], [one.mask for one in references])}


def of_set(made: Prepared, texts: Sequence[str], references: Sequence[Reference]) -> dict:
    """Rows of a set, those of one if there are several: pictures to generate with ``texts``, then references as encoded."""
    layout, known, (width, height) = made.joint_set.layout, set(made.joint_set.known), made.size
    firsts = range(0, layout.rows, layout.size)
    pictures = [
        {"role": "picture", "number": place + 1, "size": [width, height], "text": text,
         "kept": all(first + place in known for first in firsts)}
        for place, text in enumerate(texts)
    ]  # fmt: skip
    fitted = [one.fitted(width, height) for one in references]
    masks = [one.fitted_mask(width, height) for one in references]
    said = [{**_about(one, place), "size": [width, height]} for place, one in enumerate(references, 1)]
    return {ROWS: [*pictures, *_with_pictures(said, fitted, masks)]}


def _about(reference: Reference, number: int) -> dict:
    return {"role": "reference", "number": number, "text": reference.caption, "strength": reference.strength}


def _with_pictures(rows: list[dict], shown: list[torch.Tensor], masks: list[torch.Tensor | None]) -> list[dict]:
    """``rows`` with where the small form of their pictures [H, W, 3], and a veil for each mask [H, W], can be fetched."""
    veils = [_veil(mask) for mask in masks if mask is not None]
    saved = iter(small_pictures.save([*map(small_pictures.small, shown), *veils]))
    rows = [{**row, "picture": next(saved)} for row in rows]
    return [row if mask is None else {**row, "mask": next(saved)} for row, mask in zip(rows, masks, strict=True)]


def _veil(mask: torch.Tensor) -> torch.Tensor:
    """A small picture with transparency [height, width, 4] that covers what ``mask`` [H, W] leaves out."""
    left_out = 1 - small_pictures.small(mask[..., None])
    *colour, opacity = (torch.full_like(left_out, part) for part in VEIL)
    return torch.cat([*colour, opacity * left_out], dim=-1)
