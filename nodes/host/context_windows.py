"""The host's Context Windows: which rows of a batch a call of the UNet is about, where they cut the batch."""

from __future__ import annotations

from collections.abc import Sequence

BATCH = 0
"""The dimension of latents that Context Windows cut by default."""


def rows_of_call(transformer_options: dict, count: int, node: str) -> Sequence[int]:
    """The rows of the whole batch that each chunk of a call is about, in order. count: rows of a chunk; node: for errors.

    A window that does not start at the first row may bring the row before it. Raises if windows cut something else
    than the batch: nothing that has a place in the picture fits them.
    """
    found = transformer_options.get("context_window")
    if found is None:
        return range(count)
    if found.dim != BATCH:
        raise ValueError(
            f"{node}: Context Windows cut the picture, along dimension {found.dim}. Set their `dim` to {BATCH}, or disconnect "
            "what has a place in the picture: masks and keypoints."
        )
    before = getattr(found, "causal_anchor_index", None)
    rows = (*(() if before is None or before < 0 else (before,)), *found.index_list)
    if len(rows) != count:
        raise ValueError(
            f"{node}: the UNet was called on {count} rows, but the context window has {len(rows)}. Another node cuts the batch, "
            "too; remove it."
        )
    return rows
