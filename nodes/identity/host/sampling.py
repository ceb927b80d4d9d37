"""InstantID's hooks on a host model: identities added to every cross-attention layer, chunk by chunk.

In the order of the data: `outer_sample` (a run), `apply_model` (a call of the UNet), `IdentityAttention` (a layer).
Keys and values were projected before; a run copies them to the device once, and nothing here reads from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from comfy.patcher_extension import WrappersMP

from ...concepts import masks
from ...host import attention, chunk_tags, context_windows, unet
from .. import adapter as adapters
from .. import placement as placements
from ..placement import Placement

KEY = "same_subject_identity"
"""Names the wrappers, the chunks' tags, and what a call of the UNet is about in the host's transformer options."""
CHOSEN = "same_subject_identities"
"""Optional key of a conditioning entry: which identities of the model act on it, a tuple of positions from 0. Default: all."""


@dataclass(frozen=True, eq=False)
class IdentityRun:
    """A run of a sampler: its rows, the size of its latents, the noise levels of each window, what it keeps on the device."""

    rows: int
    height: int
    width: int
    windows: dict[Placement, tuple[float, float]]
    cache: dict[tuple, Any] = field(default_factory=dict)

    def keep(self, key: tuple, make: Callable[[], Any]) -> Any:
        if key not in self.cache:
            self.cache[key] = make()
        return self.cache[key]


@dataclass(frozen=True, eq=False)
class IdentityChunk:
    """What one entry of the conditioning gets: these identities, or (present = False) their absence."""

    run: IdentityRun
    identities: tuple[Placement, ...]
    present: bool


Slot = tuple[tuple[Placement, bool] | None, ...]
"""For each chunk of a batch the identity that acts on it and whether it is present, or None."""


@dataclass(frozen=True)
class IdentityCall:
    """A call of the UNet with chunks of ``rows`` rows each; ``numbers`` says which of the run's rows these are.

    Chunks have several identities at most; the n-th of each chunk form a slot, which is one attention call a layer.
    """

    run: IdentityRun
    numbers: Sequence[int]
    slots: tuple[Slot, ...]
    gates: tuple[torch.Tensor | None, ...]

    @property
    def rows(self) -> int:
        return len(self.numbers)

    def faces(self, layer: int, q: torch.Tensor, extra_options: dict) -> list[tuple]:
        """Keys, values and strengths of each slot for `add_identities`."""
        height, width = extra_options["activations_shape"][-2:]
        found = []
        for slot, gate in zip(self.slots, self.gates, strict=True):
            key = (slot, self.rows, q.device, q.dtype)
            k, v = self.run.keep((*key, layer), partial(self._keys_values, slot, layer, q))
            strength = self.run.keep((*key, self.numbers, height, width), partial(self._strength, slot, height, width, q))
            found.append((k, v, strength if gate is None else strength * gate.to(q)))
        return found

    def _keys_values(self, slot: Slot, layer: int, q: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """[B, F, D] each. A chunk without an identity gets another's keys, to which its strength is 0."""
        some = next(entry for entry in slot if entry is not None)
        chosen = [placement.keys_values(present) for placement, present in (entry or some for entry in slot)]
        k, v = (
            torch.stack(parts).to(q).repeat_interleave(self.rows, dim=0)
            for parts in ([one.keys[layer] for one in chosen], [one.values[layer] for one in chosen])
        )
        return k, v

    def _strength(self, slot: Slot, height: int, width: int, q: torch.Tensor) -> torch.Tensor:
        """[B, L or 1, 1]."""
        none = torch.zeros(self.rows, 1, 1)
        parts = [none if entry is None else placements.shares(entry[0], self.numbers, height, width) for entry in slot]
        length = max(part.shape[1] for part in parts)
        return torch.cat([part.expand(-1, length, -1) for part in parts]).to(q)


@dataclass(frozen=True, eq=False)
class IdentitySampling:
    """The hooks for some identities on one model."""

    identities: tuple[Placement, ...]

    @classmethod
    def on(cls, model) -> IdentitySampling:
        """What is installed on a ModelPatcher."""
        found = model.get_wrappers(WrappersMP.OUTER_SAMPLE, KEY)
        return found[0].__self__ if found else cls(())

    def install(self, model):
        """A clone of the ModelPatcher ``model`` with these identities on; the one given stays as it was.

        Identities that are on it already are replaced: `IdentitySampling.on(model).identities + new` adds to them.
        """
        layers = cross_attention_layers(model)
        fresh = not model.get_wrappers(WrappersMP.OUTER_SAMPLE, KEY)
        model = model.clone()
        for kind, wrapper in ((WrappersMP.OUTER_SAMPLE, self.outer_sample), (WrappersMP.APPLY_MODEL, self.apply_model)):
            model.remove_wrappers_with_key(kind, KEY)
            model.add_wrapper_with_key(kind, KEY, wrapper)
        for number, layer in enumerate(layers if fresh else ()):
            found = model.model_options["transformer_options"].get("patches_replace", {}).get("attn2", {})
            previous = found.get((*layer.block, layer.index), found.get(layer.block))
            model.set_model_attn2_replace(IdentityAttention(number, previous), *layer.block, layer.index)
        return model

    def outer_sample(self, executor, noise, latent_image, *args, **kwargs):
        """A run: every entry of the conditioning learns which identities act on it, and whether they are present."""
        guider = executor.class_obj
        sampling = guider.model_patcher.get_model_object("model_sampling")
        windows = {
            one: (float(sampling.percent_to_sigma(one.start)), float(sampling.percent_to_sigma(one.end)))
            for one in self.identities
            if (one.start, one.end) != (0.0, 1.0)
        }
        rows, *_, height, width = latent_image.shape
        for number, one in enumerate(self.identities, 1):
            if one.mask is not None:
                masks.check_shape(one.mask, height, width, f"Apply Identity: the mask of identity {number}")
        run = IdentityRun(rows, height, width, windows)
        guider.conds = {name: [self._tagged(entry, name, run) for entry in entries] for name, entries in guider.conds.items()}
        return executor(noise, latent_image, *args, **kwargs)

    def _tagged(self, entry: dict, name: str, run: IdentityRun) -> dict:
        chosen = entry.get(CHOSEN)
        numbers = range(len(self.identities)) if chosen is None else chosen
        if any(not 0 <= number < len(self.identities) for number in numbers):
            wanted = ", ".join(str(number + 1) for number in numbers)
            raise ValueError(
                f"Apply Identity: the {name} conditioning asks for the identities {wanted} (counted from 1), but "
                f"the model has {len(self.identities)}. Connect the model that these identities were applied to."
            )
        chunk = IdentityChunk(run, tuple(self.identities[number] for number in numbers), not chunk_tags.is_null(name, entry))
        return chunk_tags.tagged(entry, KEY, chunk)

    def apply_model(self, executor, x, t, c_concat=None, c_crossattn=None, control=None, transformer_options=None, **kwargs):
        """A call of the UNet: say what each chunk of its batch gets."""
        chunks = kwargs.pop(KEY, None)
        if not chunks or len(x) % len(chunks):
            raise ValueError(
                "Apply Identity: the model was called with a batch that did not come through the sampler whole, for example by "
                "the deprecated node Perp-Neg or by a node that cuts pictures into tiles. Remove that node."
            )
        transformer_options = transformer_options or {}
        options = {**transformer_options, KEY: call_of(chunks, x, t, transformer_options)}
        return executor(x, t, c_concat, c_crossattn, control, options, **kwargs)


def call_of(chunks: Sequence[IdentityChunk], x: torch.Tensor, sigma: torch.Tensor, transformer_options: dict) -> IdentityCall:
    """What a call of the UNet on ``x`` [B, C, h, w] at ``sigma`` [B] is about. Windows become factors on the device."""
    run, rows = chunks[0].run, len(x) // len(chunks)
    numbers: Sequence[int] = range(rows)
    most = max((0 if one.mask is None else len(one.mask) for c in chunks for one in c.identities), default=0)
    if most:
        numbers = context_windows.rows_of_call(transformer_options, rows, "Apply Identity")
        if tuple(x.shape[-2:]) != (run.height, run.width):
            raise ValueError(
                f"Apply Identity: an identity has a mask, but the UNet was called on {x.shape[-1]}x{x.shape[-2]} of "
                f"{run.width}x{run.height} latents, by area conditioning or tiles. Use Conditioning (Set Mask) with `default` "
                "instead, or disconnect `mask`."
            )
        if most > 1 and rows != run.rows and numbers == range(rows):
            raise ValueError(
                f"Apply Identity: an identity has {most} masks, one a row, but the UNet was called on {rows} of {run.rows} "
                "rows. Another node cuts the batch: remove it, or give one mask for all rows."
            )
    slots = tuple(
        tuple((c.identities[number], c.present) if number < len(c.identities) else None for c in chunks)
        for number in range(max(len(c.identities) for c in chunks))
    )
    return IdentityCall(run, numbers, slots, tuple(_gate(slot, run, rows, sigma) for slot in slots))


def _gate(slot: Slot, run: IdentityRun, rows: int, sigma: torch.Tensor) -> torch.Tensor | None:
    """[B, 1, 1]: 1 where the row's identity is inside its window, 0 outside; None if no identity has a window."""
    bounds = [run.windows.get(entry[0]) if entry is not None else None for entry in slot]
    if not any(bounds):
        return None
    bounds = [bound or (float("inf"), float("-inf")) for bound in bounds]
    limits = run.keep(
        (slot, rows, sigma.device),
        lambda: torch.tensor(bounds, dtype=torch.float32).repeat_interleave(rows, dim=0).to(sigma.device),
    )
    return ((sigma <= limits[:, 0]) & (sigma >= limits[:, 1]))[:, None, None]


class IdentityAttention:
    """A function for `attn2_replace` of one layer. previous: the replacement found in its place, used for the text."""

    def __init__(self, layer: int, previous=None):
        self.layer, self.previous = layer, previous

    # Compiled code may not keep a guard on transformer options; another run's identity would be a wrong picture.
    @torch.compiler.disable
    def __call__(self, q, k, v, extra_options):
        def attend(q, k, v):
            return attention.attend(q, k, v, extra_options)

        out = attend(q, k, v) if self.previous is None else self.previous(q, k, v, extra_options)
        about = extra_options.get(KEY)
        if about is None or not about.slots:
            return out
        rows = about.rows * len(about.slots[0])
        if len(q) != rows:
            raise ValueError(
                f"Apply Identity: cross-attention got {len(q)} rows, but needs {rows}. Another node on the model cuts pictures "
                "into tiles; remove it."
            )
        return placements.add_identities(out, q, about.faces(self.layer, q, extra_options), attend)

    def add(self, *args, **kwargs):
        """Some packs add their own adapter to what they find here, in place, which would leak into other models."""
        raise ValueError(
            "Apply Identity: another adapter node (IPAdapter, InstantID or PuLID of another pack) comes after Apply Identity on "
            "the model, and would change it for other nodes too. Put that node before Apply Identity."
        )


def cross_attention_layers(model) -> list[adapters.Layer]:
    """The cross-attention layers of a ModelPatcher's UNet, in the adapter file's order. Raises if it is no such UNet."""
    layers = []
    for block, transformer in unet.transformers(model, "Apply Identity"):
        for index, layer in enumerate(transformer.transformer_blocks):
            if layer.attn2 is not None:
                layers.append(adapters.Layer(block, index, layer.attn2.to_q.out_features))
    return adapters.in_file_order(layers)
