"""Coupled self-attention: the pictures of a set attend to each other (JeDi, section 3.2, figure 6).

Queries, keys and values are [B, L, D], heads still folded into D; B rows are set-major, and the first
M of the N rows of a set are the generated pictures. `attend(q, k, v)` is any self-attention kernel on
such tensors. Used by the nodes and by training alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from einops import rearrange

Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class View:
    """What the rows of a set see in self-attention, beside themselves.

    references: whether generated rows see references; if not, they see each other, and a reference sees only itself.
    generated: whether references see generated rows; if not, they see each other.
    """

    references: bool = True
    generated: bool = True


def couple_as(
    view: View, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, generated: int, references: int, attend: Attend
) -> torch.Tensor:
    """Attention of rows that see what ``view`` says; q, k, v and the result as in `couple`."""
    if not view.references:
        return couple_apart(q, k, v, generated, references, attend)
    if not view.generated:
        return couple_references_only(q, k, v, generated, references, attend)
    return couple(q, k, v, generated + references, attend)


def couple(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, pictures: int, attend: Attend) -> torch.Tensor:
    """Attention of every token to every token of its set (the supplement's listing of `forward`).

    q, k, v: [S * N, L, D] with N = ``pictures``; q may hold fewer tokens than k and v (token merging).
    Returns [S * N, L of q, D]. With one picture a set this is `attend(q, k, v)` to the bit.
    """
    q, k, v = (rearrange(x, "(s n) l d -> s (n l) d", n=pictures) for x in (q, k, v))
    return rearrange(attend(q, k, v), "s (n l) d -> (s n) l d", n=pictures)


def couple_apart(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, generated: int, references: int, attend: Attend
) -> torch.Tensor:
    """Attention without references: generated rows see generated rows, a reference sees itself.

    What a reference-free term needs: a generated row that saw a reference row would still be
    conditioned on the reference, which is present there with noise.
    """
    if not references:
        return couple(q, k, v, generated, attend)
    size = generated + references
    made, given = slice(None, generated), slice(generated, None)
    return _join(
        couple(*_parts(q, k, v, size, made), generated, attend),
        attend(*_parts(q, k, v, size, given)),
        size,
        generated,
    )


def couple_references_only(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, generated: int, references: int, attend: Attend
) -> torch.Tensor:
    """Generated rows see the whole set, references see only references.

    Departure from the paper, where every row sees every row: cheaper, and references are then encoded
    without looking at pictures that are still noise.
    """
    if not references:
        return couple(q, k, v, generated, attend)
    size = generated + references
    made, given = slice(None, generated), slice(generated, None)
    q_made = rearrange(_part(q, size, made), "(s m) l d -> s (m l) d", m=generated)
    k_all, v_all = (rearrange(x, "(s n) l d -> s (n l) d", n=size) for x in (k, v))
    return _join(
        rearrange(attend(q_made, k_all, v_all), "s (m l) d -> (s m) l d", m=generated),
        couple(*_parts(q, k, v, size, given), references, attend),
        size,
        generated,
    )


def _part(x: torch.Tensor, size: int, which: slice) -> torch.Tensor:
    """Some rows of every set: [S * N, L, D] -> [S * M, L, D] or [S * R, L, D]."""
    return x.unflatten(0, (-1, size))[:, which].flatten(0, 1)


def _parts(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, size: int, which: slice
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return _part(q, size, which), _part(k, size, which), _part(v, size, which)


def _join(made: torch.Tensor, given: torch.Tensor, size: int, generated: int) -> torch.Tensor:
    """Undo `_part`: [S * M, L, D] and [S * R, L, D] -> [S * N, L, D]."""
    both = (made.unflatten(0, (-1, generated)), given.unflatten(0, (-1, size - generated)))
    return torch.cat(both, dim=1).flatten(0, 1)
