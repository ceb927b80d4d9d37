"""Which rows of a batch a call of the UNet computes: rows of references only where something looks at them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from comfy.patcher_extension import WrappersMP

from ..layout import Layout


@dataclass(frozen=True)
class Rows:
    """The rows of a call's batch, a concatenation of chunks. whole: of each chunk, whether its references are computed."""

    layout: Layout
    whole: tuple[bool, ...]

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """Of each chunk, as it is computed."""
        without = replace(self.layout, references=0)
        return tuple(self.layout if whole else without for whole in self.whole)

    @property
    def kept(self) -> list[int]:
        """Positions of the rows that are computed, of the rows of all chunks."""
        size, pictures, rows = self.layout.size, self.layout.pictures, range(self.layout.rows)
        every = ((chunk * self.layout.rows, whole) for chunk, whole in enumerate(self.whole))
        return [start + row for start, whole in every for row in rows if whole or row % size < pictures]

    def cut(self, values: Any) -> Any:
        """The rows that are computed, of a tensor of all rows, or of every tensor in a list; other values as they are."""
        if isinstance(values, list):
            return [self.cut(one) for one in values]
        if all(self.whole) or not torch.is_tensor(values):
            return values
        chunks = zip(values.chunk(len(self.whole)), self.whole, strict=True)
        return torch.cat(
            [chunk if whole else self._split(chunk)[:, : self.layout.pictures].flatten(0, 1) for chunk, whole in chunks]
        )

    def back(self, out: torch.Tensor, references: torch.Tensor) -> torch.Tensor:
        """All rows of a result that was computed for some. references: what stands for those left out, [S * R, C, h, w]."""
        if all(self.whole):
            return out
        parts, given = [], references.to(out).unflatten(0, (self.layout.sets, -1))
        for part, whole in zip(out.split([layout.rows for layout in self.layouts]), self.whole, strict=True):
            made = part.unflatten(0, (self.layout.sets, -1))
            parts.append(part if whole else torch.cat((made, given), dim=1).flatten(0, 1))
        return torch.cat(parts)

    def references(self, values: Any, chunk: int) -> Any:
        """The rows of references of a chunk, as `cut`."""
        if isinstance(values, list):
            return [self.references(one, chunk) for one in values]
        if not torch.is_tensor(values):
            return values
        return self._split(values.chunk(len(self.whole))[chunk])[:, self.layout.pictures :].flatten(0, 1)

    def _split(self, chunk: torch.Tensor) -> torch.Tensor:
        return chunk.unflatten(0, (self.layout.sets, self.layout.size))


@dataclass(frozen=True, eq=False)
class Inputs:
    """What a call is given for each row: noisy latents, their noise levels, and conditioning, as the host names it."""

    x: torch.Tensor
    t: torch.Tensor
    c_concat: torch.Tensor | None
    c_crossattn: torch.Tensor
    others: dict[str, Any]

    def map(self, cut: Callable[[Any], Any]) -> Inputs:
        """Some of the rows."""
        x, t, c_concat, c_crossattn = (cut(values) for values in (self.x, self.t, self.c_concat, self.c_crossattn))
        return Inputs(x, t, c_concat, c_crossattn, {name: cut(values) for name, values in self.others.items()})

    def as_the_network_gets_it(self, model) -> list:
        """What decides the network's result, from the host's BaseModel ``model``."""
        sampling = model.model_sampling
        latents = [sampling.calculate_input(self.t, self.x), sampling.timestep(self.t), self.c_concat]
        return [*latents, self.c_crossattn, *([name, values] for name, values in sorted(self.others.items()))]


def may_be_cut(model, options: dict, key: str, inputs: Inputs) -> bool:
    """Whether chunks of a call may have different sizes: nothing on the host's BaseModel ``model`` looks at them but JeDi.

    options: the host's transformer options of the call, before JeDi's own. key: names JeDi's wrapper.
    """
    wrappers, patcher = options.get("wrappers", {}), model.current_patcher
    others = [name for name in wrappers.get(WrappersMP.APPLY_MODEL, {}) if name != key]
    others += [name for name, found in wrappers.get(WrappersMP.DIFFUSION_MODEL, {}).items() if found]
    others += [name for kind in ("patches", "patches_replace") for name, found in options.get(kind, {}).items() if found]
    others += [name for name in ("optimized_attention_override",) if name in options]
    if others or patcher is None or patcher.injections:
        return False
    if any(name.startswith("diffusion_model") for name in patcher.object_patches):
        return False
    values = (inputs.c_concat, inputs.c_crossattn, *inputs.others.values())
    return all(_has_rows(value, len(inputs.x)) for value in values)


def _has_rows(value: Any, count: int) -> bool:
    if isinstance(value, list):
        return all(_has_rows(one, count) for one in value)
    return value is None or isinstance(value, (str, int, float)) or (torch.is_tensor(value) and value.shape[:1] == (count,))
