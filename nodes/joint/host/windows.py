"""The host's Context Windows on joint sets larger than memory: every window holds all references of its pictures."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from comfy import context_windows

from ...host.context_windows import BATCH
from ..layout import JointSet, Layout
from ..prompts import Tokens
from . import tagging

MIXING = ("freenoise", "latent_retain_index_list", "cond_retain_index_list")
"""Choices of the host's node that give rows what belongs to others."""
EVENLY = "flat"
"""The host's name for averaging what windows say of a row."""


class SetWindows(context_windows.IndexListContextHandler):
    """The windows of a node Context Windows, cut along joint sets instead of along the batch.

    Where whole sets fit into its `context_length` L, a window is as many of them as fit; else it is L - R pictures of a set
    with the R references, by the node's own schedule and overlap. What overlapping windows say of a row is averaged evenly.
    """

    def __init__(self, given: context_windows.IndexListContextHandler, layout: Layout) -> None:
        self.__dict__.update(vars(given))
        self.layout, self.causal_window_fix = layout, False
        self.fuse_method = context_windows.get_matching_fuse_method(EVENLY)

    def get_context_windows(self, model, x_in, model_options) -> list[context_windows.IndexListContextWindow]:
        """The windows of a step, each the rows that it holds, sorted."""
        layout, planned = self.layout, []
        together = self.context_length // layout.size
        for first in range(0, layout.sets, together or 1):
            offset = first * layout.size
            if together:
                planned.append([*range(offset, min(offset + together * layout.size, layout.rows))])
                continue
            references = [offset + row for row in range(layout.pictures, layout.size)]
            for pictures in self._cut(model_options):
                planned.append([*(offset + row for row in sorted(set(pictures))), *references])
        return [context_windows.IndexListContextWindow(rows, dim=BATCH, total_frames=layout.rows) for rows in planned]

    def _cut(self, model_options) -> list[list[int]]:
        """The pictures of a set that share a window."""
        plan = copy.copy(self)
        plan.context_length = self.context_length - self.layout.references
        plan.context_overlap = min(self.context_overlap, plan.context_length - 1)
        return self.context_schedule.func(self.layout.pictures, plan, model_options)


def of_sets(options: dict, layout: Layout) -> dict:
    """A guider's model options for a run of joint sets, whose Context Windows, if any cut the batch, are `SetWindows`.

    The host gives a guider its own again after the run. Raises ValueError where windows cut pictures, are too short, or mix
    the noise of rows; and for windows of other nodes' own making.
    """
    handler = options.get("context_handler")
    if handler is None:
        return options
    if getattr(handler, "dim", BATCH) != BATCH:
        raise ValueError(
            f"JeDi: Context Windows cut pictures, along dimension {handler.dim}, so that a picture would see the same crop of "
            f"the references only. Set their `dim` to {BATCH}, where they cut the joint set and keep pictures whole."
        )
    if not isinstance(handler, context_windows.IndexListContextHandler):
        raise ValueError(
            f"JeDi: {type(handler).__name__} is on the model and cuts the batch, but a joint set can be cut by Context Windows "
            "(Manual) only. Remove that node."
        )
    if handler.context_length >= layout.rows:
        return options
    if handler.context_length <= layout.references:
        raise ValueError(
            f"JeDi: Context Windows show the model {handler.context_length} rows at once, but every window holds all "
            f"{layout.references} references of the joint set and at least 1 picture. Set `context_length` to "
            f"{layout.references + 1} or more; with {layout.size} a set stays whole."
        )
    if any(getattr(handler, name, None) for name in MIXING):  # older hosts know some of them only
        raise ValueError(
            "JeDi: Context Windows would give pictures of the joint set each other's noise or conditioning. Switch `freenoise` "
            "off, and leave `cond_retain_index_list` and `latent_retain_index_list` empty."
        )
    return {**options, "context_handler": SetWindows(handler, layout)}


def rows_of_call(transformer_options: dict, tags: torch.Tensor | None, layout: Layout) -> list[int] | None:
    """The rows of the batch that each chunk of a call is about, if a window of `SetWindows` holds only some of them."""
    window = transformer_options.get("context_window")
    if window is None or tags is None or window.dim != BATCH or len(window.index_list) == layout.rows:
        return None
    rows = list(window.index_list)
    given = tags[:, 0].tolist()
    return rows if len(given) % len(rows) == 0 and given == rows * (len(given) // len(rows)) else None


def renumbered(tags: dict, rows: Sequence[int], part: JointSet) -> dict:
    """Model conditioning of a call that is about some rows, as if these were the whole batch. part: of the set, what they are."""
    numbers = tags[tagging.TAG].clone()
    numbers[:, 0] = torch.arange(len(rows)).repeat(len(numbers) // len(rows))
    tokens = [one and Tokens(one.total, tuple(one.own[row] for row in rows)) for one in tags[tagging.TOKENS]]
    renumbered = {**tags, tagging.TAG: numbers, tagging.TOKENS: tuple(tokens)}
    if tagging.WORDS in tags:
        renumbered[tagging.WORDS] = tuple(one and part.words for one in tags[tagging.WORDS])
    return renumbered


def among_all(values: torch.Tensor, rows: Sequence[int], layout: Layout) -> torch.Tensor:
    """What a call says of the generated ones of its ``rows``, at their places among all, [S * M, ...], and NaN at others."""
    whole = values.new_full((layout.sets * layout.pictures, *values.shape[1:]), torch.nan)
    whole[[place for place, row in enumerate(layout.generated_rows) if row in rows]] = values
    return whole
