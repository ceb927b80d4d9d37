"""Which pictures are the best by a mix of scores, and which references are nearest to a prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from .similarity import TITLES, Scores


def best(every: Sequence[Scores], weights: Mapping[str, float], count: int) -> list[tuple[int, float]]:
    """The ``count`` best of ``every`` picture's scores: (position, mixed score), best first; equal ones in their order.

    weights: of each score by its name, 0 or more; those of 0 are not looked at. Each score counts in its own spread over the
    pictures, (value - mean) / standard deviation, since cosines to texts differ ten times less than those of DINO; one that is
    the same on all counts nothing. Raises ValueError for a weight on a score that a picture lacks, and for no weight at all.
    """
    used = {name: weight for name, weight in weights.items() if weight}
    if not used:
        raise ValueError("all weights are 0, but at least one score needs to count. Give one a weight, such as 1")
    mixed = torch.zeros(len(every), dtype=torch.float64)
    for name, weight in used.items():
        values = [getattr(scores, name) for scores in every]
        lacking = [number for number, value in enumerate(values, 1) if value is None]
        if lacking:
            raise ValueError(
                f"{TITLES[name]} has the weight {weight:g}, but picture {lacking[0]} has no such score. Set that weight to 0, or "
                "give Score Subject what it needs"
            )
        column = torch.tensor(values, dtype=torch.float64)
        spread = column.std(correction=0)
        if spread > 0:
            mixed += weight * (column - column.mean()) / spread
    order = torch.sort(mixed, descending=True, stable=True).indices[:count].tolist()
    return [(place, float(mixed[place])) for place in order]


def nearest(to_text: torch.Tensor, between: torch.Tensor, count: int, diversity: float) -> list[int]:
    """Positions of the ``count`` pictures that are nearest to a text, by maximal marginal relevance, in the order of choice.

    Carbonell and Goldstein (1998): the next is the one with the most (1 - d) * relevance - d * likeness, likeness being that to
    the most alike of those chosen. Departure: both are brought to 0..1 over all pictures first, as cosines to a text lie in a
    tenth of the range of those between pictures, so that ``diversity`` d in 0..1 is a share.

    to_text: cosines [B]. between: cosines [B, B] among the pictures. The first is always the nearest; equal ones in their order.
    """
    relevance, likeness = _spread(to_text), _spread(between)
    chosen: list[int] = []
    left = torch.ones(len(to_text), dtype=torch.bool)
    while left.any() and len(chosen) < count:
        value = relevance
        if chosen:
            value = (1 - diversity) * relevance - diversity * likeness[:, chosen].amax(dim=1)
        place = int(torch.where(left, value, -torch.inf).argmax())
        chosen.append(place)
        left[place] = False
    return chosen


def _spread(values: torch.Tensor) -> torch.Tensor:
    """``values`` from 0 to 1; all the same are 0."""
    values = values.double()
    low, high = values.aminmax()
    return (values - low) / (high - low) if high > low else torch.zeros_like(values)
