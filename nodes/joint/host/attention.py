"""What a call of the UNet does in its attention layers: pictures of a set see each other, and no row sees padding of its text.

Both replace the host's attention for one call, in every layer, whatever other nodes put there: what was found in a place
becomes the kernel. So neither the order of nodes nor how a place is named, block or layer of a block, matters. What other nodes
add to cross-attention is kept from references.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby

import comfy.model_management
import torch
import torch.nn.functional as F

from ...host import attention, unet
from .. import coupling, places, prompts, settings
from ..layout import Layout
from ..places import Words
from ..recording import Take
from ..sharing import EVERYTHING, Sharing, Shown
from .bank import Page

KEY = "same_subject_jedi"
"""Where a `SetCall` stands in the host's transformer options."""

Layer = tuple[str, int, int]
"""A transformer of a block, as the host's hooks name it: ("input", 1, 0)."""


@dataclass(frozen=True, eq=False)
class Padding:
    """The texts of a call, of which some are padded. total: T of the call's context. groups: see `prompts.attend_to_own`."""

    total: int
    groups: dict[int, torch.Tensor]

    @classmethod
    def of(cls, own: Sequence[int], context: torch.Tensor) -> Padding | None:
        """Of rows with so many tokens of their ``own``, and texts ``context`` [B, T, D]; None where nothing is padded."""
        total = context.shape[1]
        if all(n == total for n in own):
            return None
        lengths = torch.tensor(own, device=context.device)
        return cls(total, {n: (lengths == n).nonzero().flatten() for n in dict.fromkeys(own)})


def lengths(chunks: Iterable[prompts.Tokens | None], rows: int, total: int) -> list[int]:
    """Tokens of its own of each row, of chunks of ``rows`` rows with texts of ``total`` tokens.

    The host repeats texts that it batches with longer ones, padding included.
    """
    own: list[int] = []
    for tokens in chunks:
        own += [total if n == tokens.total else n for n in tokens.own] if tokens else [total] * rows
    return own


@dataclass(frozen=True, eq=False)
class SetCall:
    """What one call of the UNet is about. Its batch is a concatenation of chunks.

    layouts: of each chunk, its rows; without references where these are left out. views: of each chunk, what its rows see.
    levels: where attention is coupled, empty outside the coupling's part of the schedule. terms: of each chunk, which of the
    conditionings it is that the step asked for. padding: of the texts. entered: layers that were; none where another node answers
    from a cache. waiting: those of them that have not been coupled yet. sharing: what is shown of the references where not all
    of it. masses: of each layer, how much generated rows attend to references, [S * M, h, w], where that is asked for. pages: of
    each chunk, where its references are kept: a call of references alone, which has no pictures to generate, writes them, others
    read them. strengths: of levels, by how much references' strengths are multiplied there. words: of each chunk, those that its
    pictures' places are found by. heats: of each layer, how much these are attended to. take: records what the call attends to,
    or None.
    """

    layouts: tuple[Layout, ...]
    views: tuple[coupling.View, ...]
    levels: frozenset[str]
    terms: tuple[int, ...] = ()
    padding: Padding | None = None
    entered: set[Layer] = field(default_factory=set)
    waiting: set[Layer] = field(default_factory=set)
    sharing: Sharing | None = None
    masses: list[torch.Tensor] = field(default_factory=list)
    pages: tuple[Page | None, ...] = ()
    strengths: dict[str, float] = field(default_factory=dict)
    words: tuple[Words | None, ...] = ()
    heats: list[torch.Tensor] = field(default_factory=list)
    take: Take | None = None

    def weigh(self, height: int, width: int, mass: torch.Tensor) -> None:
        """At a layer of ``height`` x ``width`` tokens: keep how much chunks attend to references, [chunks * S * M, L]."""
        rows = self.layouts[0].sets * self.layouts[0].pictures
        if mass.shape[1] == height * width:  # Token Merging leaves fewer, which are nowhere
            self.masses.append(mass.unflatten(0, (-1, rows)).mean(dim=0).unflatten(1, (height, width)).float())

    def attended(self, size: tuple[int, int]) -> torch.Tensor | None:
        """After the call: the mean of `masses` on the latent grid, [S * M, h, w]; None if not asked for, or no layer ran."""
        if not self.masses:
            asked = (
                self.sharing is not None
                and self.sharing.weighed
                and any(view.references and view.share == 1 for view in self.views)
            )
            if asked and self.levels and self.layouts[0].references and self.entered:
                raise ValueError(
                    "JeDi: `color_match` needs a layer of self-attention that tells where the subject is, but other nodes merged "
                    "or replaced all of them at the chosen levels. Remove such a node (Token Merging, PAG), or set `color_match` "
                    "to 0."
                )
            return None
        grid = [F.interpolate(mass[:, None], size, mode="bilinear")[:, 0] for mass in self.masses]
        return torch.stack(grid).mean(dim=0)

    def look(self, q: torch.Tensor, k: torch.Tensor, extra_options: dict) -> None:
        """At a layer of cross-attention: keep how much pictures to generate attend to `words`."""
        shape = tuple(extra_options["activations_shape"][-2:])
        if q.shape[1] != math.prod(shape) or len(q) != sum(layout.rows for layout in self.layouts):
            return
        first = 0
        for words, layout in zip(self.words, self.layouts, strict=True):
            rows = slice(first, first + layout.rows)
            if words is not None:
                made, texts = (x[rows].unflatten(0, (-1, layout.size))[:, : layout.pictures].flatten(0, 1) for x in (q, k))
                self.heats.append(words.attended(made, texts, extra_options["n_heads"]).unflatten(-1, shape))
            first = rows.stop

    def looked(self, size: tuple[int, int]) -> torch.Tensor | None:
        """After the call: `heats` as one on the latent grid, [S * M, K + 1, h, w]; None without words, or if no layer ran."""
        if not any(self.words) or not self.entered:
            return None
        if not self.heats:
            raise ValueError(
                "JeDi: `place` of Reference Pictures is `by its word`, but no layer of cross-attention tells what pictures look "
                "at: another node merges or cuts their tokens, or replaced these layers. Remove it, or set `place` to `as given`."
            )
        return places.clearest(self.heats, size)

    def installed(self, options: dict, blocks: Iterable[tuple[str, int]]) -> dict:
        """A copy of the host's transformer options for a call that is about this. blocks: those that have attention."""
        patches, replacing = dict(options.get("patches", {})), dict(options.get("patches_replace", {}))
        patches["attn1_patch"] = [*patches.get("attn1_patch", ()), _enter]
        replacing["attn1"] = _everywhere(replacing.get("attn1", {}), blocks, _couple)
        adapters = cross = replacing.get("attn2", {})
        plain = attention.attend
        if self.padding is not None:
            plain, cross = _without_padding, _everywhere(adapters, blocks, _without_padding)
        if self.layouts[0].references:
            cross = {**cross, **{key: partial(_adapt, adapter=cross[key], plain=plain) for key in adapters}}
            patches["middle_patch"] = [partial(_adapt_between, adapter=patch) for patch in patches.get("middle_patch", ())]
        if any(self.words):
            cross = _everywhere(cross, blocks, _look)
        replacing["attn2"] = cross
        return {**options, KEY: self, "patches": patches, "patches_replace": replacing}

    def check(self) -> None:
        """After the call: raise if a layer was not coupled that should have been."""
        if self.waiting:
            block = min(self.waiting)
            raise ValueError(
                f"JeDi: another node replaced the self-attention of block {block[0]} {block[1]} while the model was called, so "
                "the pictures of the set could not see each other there. Put that node before JeDi, or remove it."
            )


def level(extra_options: dict) -> str:
    """The resolution of a layer as a share of the latent's, one of LEVELS. extra_options: the host's."""
    return settings.LEVELS[unet.halvings(extra_options)]


def _everywhere(found: dict, blocks: Iterable[tuple[str, int]], wrap: Callable) -> dict:
    """Replacements of one kind for all layers of ``blocks``. found: those of other nodes, by block or by layer."""
    return {**{block: wrap for block in blocks}, **{key: partial(wrap, previous=previous) for key, previous in found.items()}}


# Compiled code may not keep a guard on transformer options; a stale layout would be a wrong picture.
@torch.compiler.disable
def _enter(n, k, v, extra_options):
    """A function for `attn1_patch`: self-attention of a layer begins."""
    call = extra_options[KEY]
    call.entered.add(_layer(extra_options))
    if level(extra_options) in call.levels:
        call.waiting.add(_layer(extra_options))
    return n, k, v


@torch.compiler.disable
def _couple(q, k, v, extra_options, previous=None):
    """A function for `attn1_replace`. previous: the replacement found in its place, used as the kernel."""
    comfy.model_management.throw_exception_if_processing_interrupted()
    call = extra_options[KEY]
    wanted = level(extra_options) in call.levels
    if _records(previous):
        out = previous(q, k, v, {**extra_options, "cond_or_uncond": list(call.terms)})
        if not wanted:
            return out
        previous = None
    if not wanted:
        return _Kernel(extra_options, previous)(q, k, v)
    _check_rows(call, q, k)
    call.waiting.discard(_layer(extra_options))
    return _attend(call, q, k, v, extra_options, previous)


@torch.compiler.disable
def _without_padding(q, k, v, extra_options, previous=None):
    """A function for `attn2_replace`. previous: the replacement found in its place, used as the kernel."""
    padding = extra_options[KEY].padding
    rows = sum(len(rows) for rows in padding.groups.values())
    if len(q) != rows or len(k) != rows or k.shape[1] < padding.total:
        raise ValueError(
            f"JeDi: cross-attention got {len(q)} rows of queries, and {len(k)} of {k.shape[1]} tokens, but needs {rows} of "
            f"{padding.total}. Another node on the model changes texts or cuts pictures into tiles; remove it."
        )
    attend = _Kernel(extra_options, previous)
    return prompts.attend_to_own(q, k, v, padding.total, padding.groups, attend, whole=previous is not None)


@torch.compiler.disable
def _look(q, k, v, extra_options, previous=None):
    """A function for `attn2_replace` that changes nothing. previous: the replacement found in its place."""
    extra_options[KEY].look(q, k, extra_options)
    return (previous or attention.attend)(q, k, v, extra_options)


@torch.compiler.disable
def _adapt(q, k, v, extra_options, adapter, plain):
    """A function for `attn2_replace`: an adapter is about pictures to generate, so that references see their caption alone."""
    return _joined(extra_options[KEY].layouts[0], adapter(q, k, v, extra_options), plain(q, k, v, extra_options))


@torch.compiler.disable
def _adapt_between(x, extra_options, adapter):
    """A function for `middle_patch`, which GLIGEN uses, as `_adapt`."""
    given = x.clone()  # an adapter may write into x
    return _joined(extra_options[KEY].layouts[0], adapter(x, extra_options), given)


def _joined(layout: Layout, made: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
    """Rows to generate of one batch [chunks * B, L, D] and references of another."""
    made, given = (x.unflatten(0, (-1, layout.size)) for x in (made, given))
    return torch.cat((made[:, : layout.pictures], given[:, layout.pictures :].to(made)), dim=1).flatten(0, 1)


def _records(previous) -> bool:
    """Whether a replacement is that of Self-Attention Guidance: the host's attention, which also keeps its scores.

    The node needs them for each picture by itself, and finds those of e0 by its number among a call's terms.
    """
    return getattr(previous, "__module__", "") == "comfy_extras.nodes_sag"


def _layer(extra_options: dict) -> Layer:
    return (*extra_options["block"], extra_options["block_index"])


def _attend(call: SetCall, q, k, v, extra_options: dict, previous) -> torch.Tensor:
    """Attention of a whole batch, [chunks * B, L, D]: chunks with one view share a kernel call, but for those with a page."""
    outputs, start, row = [], 0, 0
    placed = call.sharing is not None and call.sharing.where is not None
    if placed and q.shape[1] != math.prod(extra_options["activations_shape"][-2:]):
        raise ValueError(
            "JeDi: `where` and `place` of Reference Pictures are not possible where another node merges tokens of self-attention "
            "(Token Merging). Remove that node, or these."
        )
    pages = call.pages or (None,) * len(call.views)
    for (view, layout, page), group in groupby(zip(call.views, call.layouts, pages, strict=True)):
        chunks = len(list(group))
        rows = slice(row, row + chunks * layout.rows)
        part = (q[rows], k[rows], v[rows])
        cond_or_uncond = extra_options["cond_or_uncond"][start : start + chunks]
        attend = _Kernel({**extra_options, "cond_or_uncond": cond_or_uncond}, previous)
        shown, weigh, heads = _shown(call, extra_options, q.device, previous), None, extra_options["n_heads"]
        if view.share == 1:
            weigh = partial(call.weigh, *extra_options["activations_shape"][-2:])
        if call.take is not None and previous is None:
            where = (
                level(extra_options),
                tuple(extra_options["activations_shape"][-2:]),
                range(start, start + chunks),
            )
            kept = None if page is None else page.read(_layer(extra_options), q)
            call.take.note(*where, *part[:2], heads, view, shown, kept)
        if page is not None and layout.pictures:
            seen, (_, of_page) = page.read(_layer(extra_options), q), shown.kept
            outputs.append(coupling.attend_shown(view, *part, layout.pictures, seen, heads, of_page, attend, weigh))
        elif page is not None:
            page.write(_layer(extra_options), shown, *part[1:], layout.references)
            outputs.append(coupling.couple_given(view, *part, layout.references, attend))
        elif call.sharing is not None and view.references and layout.references:
            outputs.append(coupling.couple_shared(view, *part, layout, heads, shown, attend, weigh))
        else:
            outputs.append(coupling.couple_as(view, *part, layout.pictures, layout.references, attend))
        start, row = start + chunks, rows.stop
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


def _shown(call: SetCall, extra_options: dict, device: torch.device, previous) -> Shown:
    """What this layer shows of references."""
    if call.sharing is None:
        return EVERYTHING
    height, width = extra_options["activations_shape"][-2:]
    shown = call.sharing.at(height, width, device, call.strengths.get(level(extra_options), 1.0))
    return shown if previous is None else _replaceable(shown, call.sharing)


@dataclass(frozen=True, eq=False)
class _Kernel:
    """The host's own attention, as `CrossAttention.forward` calls it, or the replacement found before, which takes no bias."""

    extra_options: dict
    previous: Callable | None

    def __call__(self, q, k, v, bias=None):
        if self.previous is None:
            return attention.attend(q, k, v, self.extra_options, bias)
        if bias is not None:
            raise ValueError(
                "JeDi: a strength other than 1 is not possible where another node replaced self-attention. Remove that node, or "
                "set `strength`, `reference_strength` and that of Reference Pictures to 1."
            )
        return self.previous(q, k, v, self.extra_options)[:, : q.shape[1]]  # PAG gives back v, in which own tokens come first

    def with_sums(self, q, k, v):
        if self.previous is not None or "optimized_attention_override" in self.extra_options:
            return None
        return attention.attend_with_sums(q, k, v, self.extra_options["n_heads"])


def _replaceable(shown: Shown, sharing: Sharing) -> Shown:
    """What a layer shows whose self-attention another node replaced: it need not look where it is told to."""
    if sharing.where is not None:
        raise ValueError(
            "JeDi: `where` of Reference Pictures, or a `place` by its word, is not possible where another node replaced "
            "self-attention. Remove that node, or disconnect `where` and set `place` to `as given`."
        )
    return replace(shown, weighed=False)


def _check_rows(call: SetCall, q: torch.Tensor, k: torch.Tensor) -> None:
    expected = sum(layout.rows for layout in call.layouts)
    if q.shape[0] != expected or k.shape[0] != expected:
        raise ValueError(
            f"JeDi: self-attention got {q.shape[0]} rows of queries and {k.shape[0]} of keys, but needs {expected} of "
            "each. HyperTile, or another node that cuts pictures into tiles, is on the model; remove it."
        )
