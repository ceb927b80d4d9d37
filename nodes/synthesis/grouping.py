"""Which instances of a collage are one subject (lines 13 to 15 of algorithm 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..metrics import similarity

LEAST, MOST = 2, 4
"""Pictures of a set, as the paper has them (section 4)."""
SAME = 0.95
"""The affinity above which two instances are one subject."""


@dataclass(frozen=True, eq=False)
class Instance:
    """What was cut out of a collage. picture: [h, w, 3] in 0..1, of its box alone. mask: [h, w] in 0..1."""

    picture: torch.Tensor
    mask: torch.Tensor


@dataclass(frozen=True, eq=False)
class InstanceSet:
    """Instances of one subject. subject: its name. affinity: [N, N], each with each."""

    subject: str
    instances: tuple[Instance, ...]
    affinity: torch.Tensor


def affinity(embeddings: torch.Tensor) -> torch.Tensor:
    """Cosine similarity [K, K] of embeddings [K, D]."""
    unit = similarity.unit(embeddings.float())
    return (unit @ unit.T).clamp(-1, 1)


def components(joined: torch.Tensor) -> list[list[int]]:
    """The connected components of a graph, each in rising order; joined: [K, K], true where two nodes have an edge.

    An edge in one direction is enough, as rounding may leave it.
    """
    left, found = set(range(len(joined))), []
    while left:
        reached, fresh = set(), [min(left)]
        while fresh:
            one = fresh.pop()
            if one not in reached:
                reached.add(one)
                fresh += [other for other in left if joined[one, other] or joined[other, one]]
        left -= reached
        found.append(sorted(reached))
    return found


def groups(affinities: torch.Tensor, same: float = SAME, least: int = LEAST, most: int = MOST) -> list[list[int]]:
    """Positions of the instances of each set: components of what is more alike than ``same``, with ``least`` or more of them.

    Of a component with more than ``most``, those stay that are most like all others of it. affinities: [K, K].
    """
    return [_most_alike(group, affinities, most) for group in components(affinities > same) if len(group) >= least]


def _most_alike(group: Sequence[int], affinities: torch.Tensor, most: int) -> list[int]:
    likeness = affinities[list(group)][:, list(group)].sum(dim=1).tolist()
    best = sorted(range(len(group)), key=lambda place: -likeness[place])[:most]
    return sorted(group[place] for place in best)


def cut(picture: torch.Tensor, mask: torch.Tensor) -> Instance | None:
    """What a mask [H, W] covers of a picture [H, W, 3], without what is around it; None if it covers nothing."""
    rows, columns = (mask > 0.5).nonzero(as_tuple=True)
    if not len(rows):
        return None
    part = slice(int(rows.min()), int(rows.max()) + 1), slice(int(columns.min()), int(columns.max()) + 1)
    return Instance(picture[part][..., :3].float(), mask[part].float().clamp(0, 1))
