"""What the pictures of a set attend to in each other, kept while a run goes on (JeDi, figure 5).

Attention is the mean over heads, layers and calls, of the prediction with text and references alone, with what masks and
strengths show. It is kept for each level of the UNet on that level's own tokens, or on cells of several where it would not fit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from . import settings
from .coupling import View
from .layout import Layout
from .sharing import Shown

KEY = "same_subject_recording"
"""Where a `Recording`, and while it is filled its `Run`, stands in the host's transformer options."""
MEBIBYTE = 2**20
SMALLEST = 4
"""Cells on the shorter side of a picture, at least, where a layer has more tokens than fit."""
AT_ONCE = 2**24
"""Numbers in one piece of attention."""


@dataclass(frozen=True)
class Grid:
    """Cells of ``side`` x ``side`` tokens of a layer of ``tokens`` (height, width); at the right and bottom edge fewer."""

    tokens: tuple[int, int]
    side: int = 1

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in cells."""
        height, width = (-(-length // self.side) for length in self.tokens)
        return height, width

    @property
    def count(self) -> int:
        """C, cells of a picture."""
        return math.prod(self.shape)

    def cells(self) -> torch.Tensor:
        """The cell of each token, [L]."""
        down, across = (torch.arange(length) // self.side for length in self.tokens)
        return (down[:, None] * self.shape[1] + across).flatten()


class Sums:
    """At one level: attention of cells to cells [S, N * C, N * C], and how often it was added for two pictures, [S, N, N]."""

    def __init__(self, grid: Grid, layout: Layout) -> None:
        self.grid, side = grid, layout.size * grid.count
        self.attention = torch.zeros(layout.sets, side, side)
        self.counts = torch.zeros(layout.sets, layout.size, layout.size)

    def means(self, number: int) -> torch.Tensor:
        """Of set ``number``, from 0: what each cell pays to each, [N, C, N, C], NaN where two pictures never met."""
        counts = self.counts[number][:, None, :, None]
        return self.attention[number].unflatten(1, (-1, self.grid.count)).unflatten(0, (-1, self.grid.count)) / counts


@dataclass(frozen=True, eq=False)
class Run:
    """What is recorded of one run, while it goes on. window: start and end in shares of the schedule. sums: of each level."""

    layout: Layout
    window: tuple[float, float]
    sums: dict[str, Sums]

    def take(self, chunks: Sequence[bool], layout: Layout, rows: Sequence[int] | None) -> Take | None:
        """For a call on ``rows`` of the batch, None for all, that are a ``layout``. chunks: whether each counts."""
        return Take(self, layout, tuple(range(layout.rows) if rows is None else rows), tuple(chunks)) if any(chunks) else None


@dataclass(frozen=True, eq=False)
class Taken:
    """What was recorded of a run that ended. sums: of levels where there was anything. latents: what the run gave, [B, ...]."""

    layout: Layout
    sums: dict[str, Sums]
    latents: torch.Tensor

    def is_of(self, latents: torch.Tensor) -> bool:
        """Whether these latents are what the run gave, but for rounding."""
        if latents.shape != self.latents.shape:
            return False
        return torch.allclose(latents.float().cpu(), self.latents, rtol=0.01, atol=0.01 * float(self.latents.std()))


@dataclass(eq=False)
class Recording:
    """What a user asked to be recorded, and the last run that was: of one run alone, and nothing while one goes on.

    levels: some of `settings.LEVELS`. start, end: shares of the schedule. most_bytes: for all levels together.
    """

    levels: tuple[str, ...]
    start: float
    end: float
    most_bytes: int
    taken: Taken | None = None

    def begin(self, layout: Layout, latents: tuple[int, int]) -> Run:
        """A run of ``latents`` (height, width). Raises ValueError where a set does not fit."""
        self.taken = None
        grids = {level: self._grid(level, layout, latents) for level in self.levels}
        return Run(layout, (self.start, self.end), {level: Sums(grid, layout) for level, grid in grids.items()})

    def finish(self, run: Run, latents: torch.Tensor) -> None:
        """The run ended and gave ``latents``."""
        sums = {level: one for level, one in run.sums.items() if one.counts.any()}
        self.taken = Taken(run.layout, sums, latents.detach().float().cpu().clone())

    def _grid(self, level: str, layout: Layout, latents: tuple[int, int]) -> Grid:
        height, width = latents
        for _ in range(settings.LEVELS.index(level)):
            height, width = -(-height // 2), -(-width // 2)  # the UNet rounds up when it halves
        most, side = self.most_bytes / len(self.levels), 1
        while _bytes(grid := Grid((height, width), side), layout) > most:
            side *= 2
            if min(Grid((height, width), side).shape) < SMALLEST:
                needed = math.ceil(_bytes(grid, layout) * len(self.levels) / MEBIBYTE)
                raise ValueError(
                    f"Record Correspondence: `memory` is {self.most_bytes // MEBIBYTE} MiB, but {layout.describe()} at "
                    f"{len(self.levels)} level{'s' * (len(self.levels) != 1)} need {needed}, even in coarse cells. Raise it, "
                    "choose fewer levels, or make fewer sets or pictures."
                )
        return grid


def _bytes(grid: Grid, layout: Layout) -> int:
    return layout.sets * (layout.size * grid.count) ** 2 * 4


@dataclass(frozen=True, eq=False)
class Take:
    """What one call adds to a run. layout: of the call. rows: of the run's batch, those of every chunk. chunks: which count."""

    run: Run
    layout: Layout
    rows: tuple[int, ...]
    chunks: tuple[bool, ...]

    def note(
        self,
        level: str,
        tokens: tuple[int, int],
        chunks: range,
        q: torch.Tensor,
        k: torch.Tensor,
        heads: int,
        view: View,
        shown: Shown,
        seen: Sequence[tuple[torch.Tensor, torch.Tensor]] | None = None,
    ) -> None:
        """At a layer of ``tokens`` (height, width): note what rows of ``chunks`` with one view attend to.

        q, k: [chunks * S * N, L, D], heads folded into D; with ``seen``, keys and values of references of `shown.kept` as
        `coupling.attend_shown` takes them, S * M rows a chunk. A layer whose tokens another node merged is left out.
        """
        sums = self.run.sums.get(level)
        if sums is None or sums.grid.tokens != tokens or q.shape[1] != math.prod(tokens):
            return
        for chunk, queries, keys in zip(chunks, q.chunk(len(chunks)), k.chunk(len(chunks)), strict=True):
            if self.chunks[chunk]:
                asking, asked = (x.unflatten(0, (self.layout.sets, -1)) for x in (queries, keys))
                self._note(sums, asking, asked, heads, view, shown, seen)

    def _note(self, sums: Sums, q, k, heads: int, view: View, shown: Shown, seen) -> None:
        """Of one chunk, q and k [S, N or M, L, D]."""
        made, unions = self.layout.pictures, (None,) * len(shown.groups)
        if seen is None:
            others = k[:, made:].flatten(1, 2)
            parts = [others] if len(shown.groups) == 1 else list(others.split(1))
        else:
            parts, (unions, shown) = [keys for keys, _ in seen], shown.kept
        for place in range(self.layout.sets):
            kind = place if len(parts) > 1 else 0
            given = parts[0][place] if len(parts) == 1 else parts[place][0]
            number, pictures = self._pictures(place)
            cells = self._cells(sums, pictures).to(q.device)
            own, others = cells[:made].flatten(), cells[made:].flatten()
            union, groups = unions[kind % len(unions)], shown.groups[kind % len(shown.groups)]
            others = others if union is None else others[union]
            for group in groups:
                keys, at = (x if group.keys is None else x[group.keys] for x in (given, others))
                bias = None if group.bias is None else torch.cat((group.bias.new_zeros(len(own)), group.bias))
                pair = torch.cat((k[place, :made].flatten(0, 1), keys)), torch.cat((own, at))
                for picture in range(made):
                    mine = q[place, picture], cells[picture]
                    _add(sums, number, pictures[picture], *mine, *pair, heads, bias, _asked(group, q, picture))
            sums.counts[number, torch.tensor(pictures[:made])[:, None], torch.tensor(pictures)] += 1
            if view.generated and q.shape[1] > made:
                every = k[place].flatten(0, 1), cells.flatten()
                for picture in range(made, q.shape[1]):
                    _add(sums, number, pictures[picture], q[place, picture], cells[picture], *every, heads)
                sums.counts[number, torch.tensor(pictures[made:])[:, None], torch.tensor(pictures)] += 1

    def _pictures(self, place: int) -> tuple[int, list[int]]:
        """Of a set of the call: the number of its set in the run, and which pictures of that its pictures are, all from 0."""
        size, whole = self.layout.size, self.run.layout.size
        rows = self.rows[place * size : (place + 1) * size]
        return rows[0] // whole, [row % whole for row in rows]

    def _cells(self, sums: Sums, pictures: Sequence[int]) -> torch.Tensor:
        """The cell among all of its set that each token of some pictures is in, [pictures, L]."""
        return torch.tensor(pictures)[:, None] * sums.grid.count + sums.grid.cells()


def _asked(group, q: torch.Tensor, picture: int) -> torch.Tensor | None:
    """Which tokens of a picture are queries of a group, None for all."""
    if group.queries is None:
        return None
    tokens = q.shape[2]
    return group.queries[group.queries // tokens == picture] % tokens


def _add(sums: Sums, number: int, picture: int, q, own, k, cells, heads: int, bias=None, asked=None) -> None:
    """Add what tokens of one picture q [L, D] in cells ``own`` [L] attend to, of k [T, D] in ``cells`` [T]."""
    count, width = sums.grid.count, sums.attention.shape[-1]
    block = torch.zeros(count, width, device=q.device)
    share = 1 / torch.bincount(own - picture * count, minlength=count)
    asked = torch.arange(len(q), device=q.device) if asked is None else asked
    for some in asked.split(max(1, AT_ONCE // (heads * max(1, len(k))))):
        weights = attention(q[some], k, heads, bias)
        pooled = torch.zeros(len(some), width, device=q.device).index_add_(1, cells, weights)
        places = own[some] - picture * count
        block.index_add_(0, places, pooled * share[places, None])
    sums.attention[number, picture * count : (picture + 1) * count] += block.cpu()


def attention(q: torch.Tensor, k: torch.Tensor, heads: int, bias: torch.Tensor | None = None) -> torch.Tensor:
    """Softmax attention of q [L, D] to k [T, D], [L, T], the mean over heads. bias: what is added to the logits, [T]."""
    q, k = (x.float().unflatten(-1, (heads, -1)).transpose(0, 1) for x in (q, k))
    scores = q @ k.mT / q.shape[-1] ** 0.5
    return (scores if bias is None else scores + bias.float()).softmax(dim=-1).mean(dim=0)
