"""Coupled self-attention: the pictures of a set attend to each other (JeDi, section 3.2, figure 6).

Queries, keys and values are [B, L, D], heads still folded into D; B rows are set-major, and the first
M of the N rows of a set are the generated pictures. `attend(q, k, v)` is any self-attention kernel on
such tensors. Used by the nodes and by training alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange

from .layout import Layout
from .sharing import EVERYTHING, Group, Shown

COLUMNS = 8
"""Kernels want heads that are a multiple of this wide."""

Attend = Callable[..., torch.Tensor]


@dataclass(frozen=True)
class View:
    """What the rows of a set see in self-attention, beside themselves.

    references: whether generated rows see references; if not, they see each other, and a reference sees only itself.
    generated: whether references see generated rows; if not, they see each other, or, if ``alone``, only themselves.
    share: how much of what references change in generated rows is kept.
    """

    references: bool = True
    generated: bool = True
    alone: bool = False
    share: float = 1.0


def couple_as(
    view: View, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, generated: int, references: int, attend: Attend
) -> torch.Tensor:
    """Attention of rows that see what ``view`` says; q, k, v and the result as in `couple`."""
    if not view.references:
        return couple_apart(q, k, v, generated, references, attend)
    if not view.generated and not view.alone:
        return couple_references_only(q, k, v, generated, references, attend)
    if view.alone:
        return couple_shared(view, q, k, v, Layout(1, generated, references), 1, EVERYTHING, attend)
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


def couple_shared(
    view: View,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    layout: Layout,
    heads: int,
    shown: Shown,
    attend: Attend,
    weigh: Callable[[torch.Tensor], None] | None = None,
) -> torch.Tensor:
    """Attention of generated rows to each other and to what is ``shown`` of the references; q, k, v and the result as `couple`.

    attend, weigh: as of `attend_shown`.
    """
    size, made, given = layout.size, slice(None, layout.pictures), slice(layout.pictures, None)
    keys, values = (shown.parts(_part(x, size, given), layout.references) for x in (k, v))
    seen = list(zip(keys, values, strict=True))
    out = attend_shown(view, *_parts(q, k, v, size, made), layout.pictures, seen, heads, shown, attend, weigh)
    if view.generated:
        rest = _part(couple(q, k, v, size, attend), size, given)
    else:
        rest = couple_given(view, *_parts(q, k, v, size, given), layout.references, attend)
    return _join(out, rest, size, layout.pictures)


def couple_given(view: View, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, references: int, attend: Attend) -> torch.Tensor:
    """Attention of references [S * R, L, D] that do not see generated rows."""
    return couple(q, k, v, 1 if view.alone else references, attend)


def attend_shown(
    view: View,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    pictures: int,
    seen: Sequence[tuple[torch.Tensor, torch.Tensor]],
    heads: int,
    shown: Shown,
    attend: Attend,
    weigh: Callable[[torch.Tensor], None] | None = None,
) -> torch.Tensor:
    """Attention of generated rows [S * M, L, D] to each other and to what is ``shown`` of references.

    seen: keys and values of references, [S, keys, D] for all sets together or [1, keys, D] for each. attend: takes a bias [keys]
    of the logits as a fourth argument where a group of queries has one; may have `with_sums`, see `_attend_apart`. weigh: is
    given the share of attention that goes to references, [S * M, L], if it is asked for.
    """
    own = [rearrange(x, "(s m) l d -> s (m l) d", m=pictures) for x in (q, k, v)]
    split = [x.chunk(len(seen)) for x in own]
    every = shown.groups * (len(seen) // len(shown.groups))
    weigh = weigh if shown.weighed else None
    parts = [
        _attend_groups([x[number] for x in split], given, groups, heads, weigh is not None, attend)
        for number, (given, groups) in enumerate(zip(seen, every, strict=True))
    ]
    out, mass = (torch.cat(x) for x in zip(*parts, strict=True))
    if weigh is not None:
        weigh(rearrange(mass, "s (m l) -> (s m) l", m=pictures))
    if view.share != 1:
        without = attend(*own)
        out = without + view.share * (out - without)
    return rearrange(out, "s (m l) d -> (s m) l d", m=pictures)


def _attend_groups(
    own: list[torch.Tensor],
    seen: tuple[torch.Tensor, torch.Tensor],
    groups: tuple[Group, ...],
    heads: int,
    weighed: bool,
    attend: Attend,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Queries of each group, of own [S, M * L, D], to all own tokens and to what it is shown; and their mass [S, M * L]."""
    (q, k, v), outcome = own, torch.empty_like(own[0])
    masses = q.new_zeros(q.shape[:2], dtype=torch.promote_types(q.dtype, torch.float32))
    for group in groups:
        queries = slice(None) if group.queries is None else group.queries
        keys, values = (x if group.keys is None else x[:, group.keys] for x in seen)
        sums = getattr(attend, "with_sums", None) if weighed or group.bias is not None else None
        found = None if sums is None else _attend_apart(q[:, queries], k, v, keys, values, heads, group, sums)
        if found is not None:
            outcome[:, queries], masses[:, queries] = found[0], found[1].to(masses)
            continue
        bias = () if group.bias is None else (torch.cat((group.bias.new_zeros(k.shape[1]), group.bias)).to(q),)
        arguments = q[:, queries], torch.cat((k, keys), dim=1), torch.cat((v, values), dim=1)
        if not weighed:
            outcome[:, queries] = attend(*arguments, *bias)
        else:
            outcome[:, queries], mass = _attend_and_weigh(*arguments, k.shape[1], heads, attend, *bias)
            masses[:, queries] = mass.to(masses)
    return outcome, masses


def _attend_apart(q, k, v, keys, values, heads: int, group: Group, sums: Callable) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Attention to own tokens and to ``keys`` of references, and the share that goes to these, the mean over heads.

    From attention to own tokens and to theirs, each by itself: both is the mean of the two, weighed by their sums of
    exponentials, of which a strength is a factor. So there is no bias, which many kernels are slow with. sums: a kernel that
    gives outcome and logarithms of its sums, or None.
    """
    found = sums(q, k, v)
    if found is None:
        return None
    (out, total), mass, start = found, torch.zeros_like(found[1]), 0
    for count, bias in group.runs or ((keys.shape[1], 0.0),):
        if not count:
            continue
        part = slice(start, start + count)
        more, other = sums(q, keys[:, part], values[:, part])
        share = torch.sigmoid(other + bias - total)  # [S, heads, queries]
        out = out + _of_heads(share, out) * (more - out)
        mass, total, start = mass + (1 - mass) * share, torch.logaddexp(total, other + bias), start + count
    return out, mass.mean(dim=1)


def _of_heads(share: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """[S, heads, L] -> [S, L, D]."""
    return share.transpose(1, 2).repeat_interleave(like.shape[-1] // share.shape[1], dim=-1).to(like)


def _attend_and_weigh(q, k, v, first: int, heads: int, attend: Attend, *bias) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention, and the share of it that goes to keys from ``first`` on, [B, L], the mean over heads.

    The kernel itself weighs: every head gets `COLUMNS` more, and one of them is 1 in the values of those keys and 0 in others.
    """
    width = q.shape[-1] // heads

    def widened(x: torch.Tensor) -> torch.Tensor:
        return F.pad(x.unflatten(-1, (heads, width)), (0, COLUMNS))

    values = widened(v)
    values[:, first:, :, width] = 1
    scale = (1 + COLUMNS / width) ** 0.5  # the kernel divides by the root of the wider head
    out = attend(*(x.flatten(-2) for x in (widened(q * scale), widened(k), values)), *bias).unflatten(-1, (heads, -1))
    return out[..., :width].flatten(-2), out[..., width].mean(dim=-1)


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
