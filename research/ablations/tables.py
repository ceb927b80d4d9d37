"""The tables as they are printed: means, and by how much rows differ, with a paired bootstrap over the subjects."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch

from ..evaluate import LAMBDAS
from ..measure import bounds
from .arms import MODES, Table
from .measuring import FIGURES

Figures = Mapping[str, list[dict[str, float]]]
"""Name of a row -> the figures of each subject; rows that were not run are not there."""
COMPARED = ("top1", "masked_similarity", "caption_probability", "copied_scene")
LOOKS, CAPTION = "masked_similarity", "caption_probability"


def means(found: list[dict[str, float]]) -> dict[str, float]:
    return {figure: sum(row[figure] for row in found) / len(found) for figure in FIGURES}


def difference(name: str, one: list[dict], other: list[dict], figure: str) -> dict:
    """Of a figure of two rows of the same subjects: ``one`` less ``other``, with 95 % bounds of a paired bootstrap."""
    apart = torch.tensor([a[figure] - b[figure] for a, b in zip(one, other, strict=True)])
    low, high = bounds(apart, torch.Generator().manual_seed(0))
    return {"rows": name, "figure": figure, "difference": apart.mean().item(), "low": low, "high": high}


def compared(table: Table, found: Figures) -> list[dict]:
    """Each row less the one that it stands against, in every figure that tells them apart."""
    first = table.rows[0].name
    pairs = [(row.name, row.against or first) for row in table.rows if row.against or row.name != first]
    return [
        difference(f"{one} - {other}", found[one], found[other], figure)
        for one, other in pairs
        if one in found and other in found
        for figure in COMPARED
    ]


def of_modes(found: Figures) -> list[dict]:
    """Neighbours in table 6's order, each the mean over the scales; empty until every mode was run at every scale.

    The paper: looks text first > joint > image first > text only, caption the other way round.
    """
    if any(f"{mode}@{scale:g}" not in found for mode in MODES for scale in LAMBDAS):
        return []
    over = {
        mode: [
            {figure: sum(row[figure] for row in rows) / len(rows) for figure in FIGURES}
            for rows in zip(*(found[f"{mode}@{scale:g}"] for scale in LAMBDAS), strict=True)
        ]
        for mode in MODES
    }
    return [
        difference(f"{larger} - {smaller}", over[larger], over[smaller], figure)
        for figure, order in ((LOOKS, MODES), ("similarity", MODES), (CAPTION, MODES[::-1]))
        for larger, smaller in pairwise(order)
    ]


def lines(number: int, table: Table, found: Figures, differences: list[dict], missing: Mapping[str, str]) -> list[str]:
    """The table as text. missing: why a row was not run."""
    name = "Figure 11" if number == 11 else f"Table {number}"
    text = [f"{name}: {table.title}", f"{'':30}{'subjects':>9}" + "".join(f"{head:>10}" for head in HEADS)]
    for row in table.rows:
        paper = "   paper: DINO {:.3f}, MDINO {:.3f}, CLIP-T {:.3f}".format(*row.paper) if row.paper else ""
        if row.name in found:
            figures = "".join(f"{value:10.3f}" for value in means(found[row.name]).values())
            text.append(f"{row.name:30}{len(found[row.name]):9}{figures}{paper}")
        else:
            text.append(f"{row.name:30}  not run: {missing[row.name]}{paper}")
    for line in differences:
        bounds_of = f"{line['difference']:+.3f} [{line['low']:+.3f}, {line['high']:+.3f}]"
        text.append(f"  {line['rows']}, {line['figure']}: {bounds_of}{told(line)}")
    return text


def told(line: dict) -> str:
    """Whether the bounds leave out zero."""
    return "" if line["low"] > 0 or line["high"] < 0 else "  (not told apart)"


HEADS = ("top-1", "similar", "masked", "caption", "p(capt.)", "copied")
