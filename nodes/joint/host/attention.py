"""The self-attention replacement that couples the pictures of a set, for the host's `attn1_replace` hook."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import comfy.model_management
import torch

from ...host import attention
from .. import coupling, settings
from ..layout import Layout

KEY = "same_subject_jedi"
"""Where a `SetCall` stands in the host's transformer options."""


@dataclass(frozen=True)
class SetCall:
    """What one call of the UNet is about. Its batch is a concatenation of chunks of `layout.rows` rows.

    views: of each chunk, what its rows see. levels: where attention is coupled, empty outside the coupling's part of the
    schedule.
    """

    layout: Layout
    views: tuple[coupling.View, ...]
    levels: frozenset[str]

    def level(self, extra_options: dict) -> str:
        """The resolution of this layer as a share of the latent's, one of LEVELS."""
        size, layer = extra_options["original_shape"][-2:], extra_options["activations_shape"][-2:]
        for level in settings.LEVELS[:-1]:
            if list(size) == list(layer):
                return level
            size = [-(-length // 2) for length in size]  # the UNet rounds up when it halves
        return settings.LEVELS[-1]


def coupled_self_attention(previous=None):
    """A function for `attn1_replace`. ``previous``: the replacement found in its place, used as the kernel."""

    # Compiled code may not keep a guard on transformer options; a stale layout would be a wrong picture.
    @torch.compiler.disable
    def replace(q, k, v, extra_options):
        comfy.model_management.throw_exception_if_processing_interrupted()
        call = extra_options.get(KEY)
        if call is None or call.level(extra_options) not in call.levels:
            return _kernel(extra_options, previous)(q, k, v)
        _check_rows(call, q, k)
        return _attend(call, q, k, v, extra_options, previous)

    replace.couples_pictures = True
    return replace


def _attend(call: SetCall, q, k, v, extra_options: dict, previous) -> torch.Tensor:
    """Attention of a whole batch, [chunks * B, L, D]: chunks with one view share a kernel call."""
    layout, outputs, start = call.layout, [], 0
    for view, group in groupby(call.views):
        chunks = len(list(group))
        rows = slice(start * layout.rows, (start + chunks) * layout.rows)
        part = (q[rows], k[rows], v[rows])
        cond_or_uncond = extra_options["cond_or_uncond"][start : start + chunks]
        attend = _kernel({**extra_options, "cond_or_uncond": cond_or_uncond}, previous)
        outputs.append(coupling.couple_as(view, *part, layout.pictures, layout.references, attend))
        start += chunks
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


def _kernel(extra_options: dict, previous) -> coupling.Attend:
    """The host's own self-attention, as `CrossAttention.forward` calls it, or the replacement found before."""
    if previous is not None:
        return lambda q, k, v: previous(q, k, v, extra_options)
    return lambda q, k, v: attention.attend(q, k, v, extra_options)


def _check_rows(call: SetCall, q: torch.Tensor, k: torch.Tensor) -> None:
    expected = len(call.views) * call.layout.rows
    if q.shape[0] != expected or k.shape[0] != expected:
        raise ValueError(
            f"JeDi: self-attention got {q.shape[0]} rows of queries and {k.shape[0]} of keys, but needs {expected} of "
            "each. HyperTile, or another node that cuts pictures into tiles, is on the model; remove it."
        )
