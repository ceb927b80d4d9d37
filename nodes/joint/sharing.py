"""What generated pictures see of the references in self-attention: whose tokens, how strongly, and where.

For models that were never trained on sets. There every token of a reference acts, its background too, and nothing says how
strongly; here only tokens of the subject are shown, and strength s counts each of them s times:

    softmax over own tokens j and shown tokens i of exp(q k_j) and s exp(q k_i), so ln s is added to the logits of i.
"""

from __future__ import annotations

import functools
import hashlib
import math
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F

INSIDE = 0.3
"""Share of a token's area that must lie in the mask for the token to belong to the subject."""


LEVELS = (2**-2.5, 2**3.5)
"""Noise levels between which references are shown where they take few: 0.18 and 11.3, most of a schedule."""


@dataclass(frozen=True, eq=False)
class Group:
    """Tokens of a set's generated pictures that see the same tokens of its references.

    queries: positions among the M * L tokens of generated pictures, or None for all. keys: positions among the R * L tokens
    of references, or None for all. bias: [keys], what is added to their logits, or None for nothing. runs: of keys one after the
    other, how many have which bias.
    """

    queries: torch.Tensor | None = None
    keys: torch.Tensor | None = None
    bias: torch.Tensor | None = None
    runs: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, eq=False)
class Shown:
    """What is shown at one layer: the groups of every set, or of all sets alike if there is one entry.

    weighed: whether how much each token attends to references is asked for.
    """

    groups: tuple[tuple[Group, ...], ...]
    weighed: bool = False

    def parts(self, x: torch.Tensor, references: int) -> list[torch.Tensor]:
        """Rows of references [S * R, L, D] as [S, R * L, D] of all sets together, or [1, R * L, D] of each where they differ."""
        sets = x.unflatten(0, (-1, references)).flatten(1, 2)
        return [sets] if len(self.groups) == 1 else list(sets.split(1))

    @functools.cached_property
    def kept(self) -> tuple[tuple[torch.Tensor | None, ...], Shown]:
        """Of each entry the tokens that any group sees, and this of those tokens alone."""
        unions: list[torch.Tensor | None] = []
        entries = []
        for groups in self.groups:
            chosen = [group.keys for group in groups if group.keys is not None]
            if len(chosen) < len(groups):
                unions.append(None)
                entries.append(groups)
                continue
            union = torch.cat(chosen).unique()
            unions.append(union)
            entries.append(tuple(replace(group, keys=_positions(group.keys, union)) for group in groups))
        return tuple(unions), replace(self, groups=tuple(entries))

    def times(self, factor: float, device: torch.device) -> Shown:
        """This with every strength multiplied; the same tokens stay shown, for nothing if the factor is 0."""
        more = math.log(factor) if factor else -math.inf

        def multiplied(group: Group) -> Group:
            runs = tuple((count, value + more) for count, value in group.runs)
            biases = [torch.full((count,), value, device=device) for count, value in runs]
            return replace(group, bias=torch.cat(biases), runs=runs) if runs else group

        return replace(self, groups=tuple(tuple(multiplied(group) for group in groups) for groups in self.groups))


EVERYTHING = Shown(((Group(),),))
"""Every token everywhere, at strength 1."""


@dataclass(frozen=True, eq=False)
class Sharing:
    """Masks and strengths of a run's references.

    masks: the subject of each reference on the latent grid, [R, h, w] for every set, or [S * R, h, w], in 0..1; None shows all.
    strengths: of each reference, 0 leaves it out, 1 is plain attention. where: on which part of the generated pictures each
    reference acts, [R, M, h, w] for every set, or [S * R, M, h, w], in 0..1; None is everywhere. weighed: see `Shown`.
    """

    references: int
    masks: torch.Tensor | None = None
    strengths: tuple[float, ...] = ()
    where: torch.Tensor | None = None
    weighed: bool = False
    _known: dict = field(default_factory=dict, repr=False)

    @functools.cached_property
    def name(self) -> str:
        """A name of what decides which tokens are shown."""
        digest = hashlib.sha256(repr([strength > 0 for strength in self.strengths]).encode())
        for tensor in (self.masks, self.where):
            if tensor is not None:
                digest.update(repr(tuple(tensor.shape)).encode() + tensor.float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    @property
    def plain(self) -> bool:
        """Whether every token is shown everywhere at strength 1, and nothing more is asked for."""
        one = not self.weighed and all(strength == 1 for strength in self.strengths)
        return one and self.masks is None and self.where is None

    def at(self, height: int, width: int, device: torch.device, factor: float = 1.0) -> Shown:
        """What is shown at a layer of ``height`` x ``width`` tokens, with all strengths multiplied by a factor."""
        key = (height, width, device, factor)
        if key not in self._known:
            if factor != 1:
                self._known[key] = self.at(height, width, device).times(factor, device)
            else:
                masks, acts = self._inside(height, width), self._acting(height, width)
                sets = max(len(masks), len(acts))
                pairs = zip(masks * (sets // len(masks)), acts * (sets // len(acts)), strict=True)
                groups = tuple(self._of_set(shown, act, device) for shown, act in pairs)
                self._known[key] = Shown(groups, self.weighed)
        return self._known[key]

    def subjects(self, references: torch.Tensor) -> torch.Tensor:
        """Which tokens of references [S * R, C, h, w] are of a subject by more than half, [S, R, h, w]."""
        shape, sets = references.shape[-2:], len(references) // self.references
        masks = references.new_ones(self.references, *shape) if self.masks is None else self.masks.to(references)
        return (masks > 0.5).unflatten(0, (-1, self.references)).expand(sets, -1, -1, -1)

    def acting(self, number: int, picture: int) -> list[tuple[torch.Tensor | None, list[int]]]:
        """The parts [h, w] of a ``picture`` of set ``number``, with positions of the references that act there alike.

        Both count from 0.
        """
        if self.where is None:
            return [(None, list(range(self.references)))]
        where = self.where.unflatten(0, (-1, self.references))
        kinds, kind = where[number % len(where), :, picture].unique(dim=0, return_inverse=True)
        return [(part > 0.5, (kind == number).nonzero()[:, 0].tolist()) for number, part in enumerate(kinds)]

    def _inside(self, height: int, width: int) -> list[torch.Tensor]:
        """Which tokens belong to the subject, [R, L] a set."""
        if self.masks is None:
            return [torch.ones(self.references, height * width, dtype=torch.bool)]
        return list(inside(self.masks, height, width).unflatten(0, (-1, self.references)))

    def _acting(self, height: int, width: int) -> list[torch.Tensor | None]:
        """On which tokens of generated pictures references act, [R, M * L] a set; None is on all."""
        if self.where is None:
            return [None]
        sets = self.where.unflatten(0, (-1, self.references))
        return [inside(where.flatten(0, 1), height, width).view(self.references, -1) for where in sets]

    def _of_set(self, shown: torch.Tensor, acts: torch.Tensor | None, device) -> tuple[Group, ...]:
        strengths = self.strengths or (1.0,) * self.references
        shown = shown & torch.tensor([strength > 0 for strength in strengths])[:, None]
        bias = torch.tensor([math.log(strength) if strength > 0 else 0.0 for strength in strengths])
        if acts is None:
            return (_group(None, shown, bias, device),)
        kinds, kind = acts.T.unique(dim=0, return_inverse=True)
        return tuple(
            _group((kind == number).nonzero()[:, 0].to(device), shown & seen[:, None], bias, device)
            for number, seen in enumerate(kinds)
        )


def at_levels(sigma: torch.Tensor, count: int) -> torch.Tensor:
    """Noise levels brought to the nearest of ``count`` that stand evenly, by their logarithm, in `LEVELS`; 0: as they are."""
    if not count:
        return sigma
    low, high = (math.log2(level) for level in LEVELS)
    number = ((sigma.log2() - low) / (high - low) * count).floor().clamp(0, count - 1)
    return 2 ** (low + (high - low) * (number + 0.5) / count)


def otsu(values: torch.Tensor) -> torch.Tensor:
    """Otsu's threshold of each row of [B, L], [B, 1]: values above it and the others differ most between, least within."""
    ordered, count = values.sort(dim=1).values, values.shape[1]
    below = torch.arange(1, count, device=values.device)
    sums = ordered.cumsum(dim=1)
    low, high = sums[:, :-1] / below, (sums[:, -1:] - sums[:, :-1]) / (count - below)
    best = (below * (count - below) * (high - low).square()).argmax(dim=1, keepdim=True)
    return ordered.gather(1, best)


def inside(masks: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Tokens of a layer that lie in masks [B, h, w] by more than `INSIDE` of their area, [B, height * width].

    A mask that is nowhere black at this size keeps its strongest token, unless it is black everywhere.
    """
    area = F.adaptive_avg_pool2d(masks[:, None].float(), (height, width)).flatten(1)
    strongest = area.amax(dim=1, keepdim=True)
    return (area > INSIDE) | ((area == strongest) & (strongest > 0) & (strongest <= INSIDE))


def _positions(keys: torch.Tensor | None, union: torch.Tensor) -> torch.Tensor | None:
    """Where ``keys`` are in ``union``, which is ordered and holds them; None if they are all of it."""
    if keys is None or len(keys) == len(union):
        return None
    return torch.searchsorted(union, keys)


def _group(queries, shown: torch.Tensor, bias: torch.Tensor, device) -> Group:
    chosen = shown.flatten().nonzero()[:, 0]
    biases = bias[:, None].expand(shown.shape).flatten()[chosen]
    every = len(chosen) == shown.numel()
    values, counts = biases.unique_consecutive(return_counts=True)
    runs = tuple(zip(counts.tolist(), values.tolist(), strict=True))
    return Group(queries, None if every else chosen.to(device), biases.to(device) if biases.any() else None, runs)
