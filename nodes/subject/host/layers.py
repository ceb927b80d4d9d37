"""What a call of the UNet with subjects is about, and its layers in the order of the data: `First`, `Middle`, `Text`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F

from ...host import attention
from ...joint.host.attention import level
from .. import chain, where
from ..adapter import KeysValues, Networks
from ..chain import Subjects
from . import steering

CALL = "same_subject_subjects_call"
"""Where a `Call` stands in the host's transformer options."""
FIRST = "diffusion_model.input_blocks.0.0."
"""What the first convolution's weights begin with in a model's state."""


@dataclass(frozen=True, eq=False)
class Run:
    """A run of a sampler. networks: on the device, where the host put them. unpatched: the model's weights that are exchanged.

    boxes: of the subjects. height, width: of its latents. masked: whether there is a noise mask.
    """

    networks: Networks
    subjects: Subjects
    unpatched: dict[str, torch.Tensor]
    boxes: tuple[where.Box, ...]
    height: int
    width: int
    masked: bool
    cache: dict[tuple, Any] = field(default_factory=dict)

    def keep(self, key: tuple, make: Callable[[], Any]) -> Any:
        if key not in self.cache:
            self.cache[key] = make()
        return self.cache[key]

    def tokens(self, device: torch.device) -> torch.Tensor:
        """[2, T, width]: of the subjects, and of none, which are zeros as the authors' null branch has them."""
        about = self.subjects.adapter.about
        told = about.boxes and (about.box_of_one or len(self.boxes) > 1)
        boxes = self.boxes if told else None
        shown = chain.tokens(self.networks.proj, self.subjects.each, boxes, about.slots, device)
        return torch.stack((shown, torch.zeros_like(shown)))

    def keys_values(self, layer: int, nulls: tuple[bool, ...], rows: int, like: torch.Tensor) -> KeysValues:
        """What a layer sees in each row of a call, made once a run."""
        key = layer, like.device, like.dtype
        tokens = self.keep((like.device, like.dtype), lambda: self.tokens(like.device).to(like))
        both = self.keep(key, lambda: self.networks.layers[layer].subjects(tokens))

        def of_rows() -> KeysValues:
            chosen = [int(null) for null in nulls for _ in range(rows)]
            return KeysValues(both.keys[chosen], both.values[chosen])

        return self.keep((*key, nulls, rows), of_rows)

    def exchanged(self, name: str, own: str, like: torch.Tensor) -> torch.Tensor:
        """By how much the networks' weight ``name`` differs from the model's ``own``, without what is patched on it."""

        def difference() -> torch.Tensor:
            new = self.networks.get_parameter(name).to(like.device, torch.float32)
            base = self.unpatched[own].to(like.device, torch.float32)
            if new.ndim == 4:
                base = F.pad(base, (0, 0, 0, 0, 0, new.shape[1] - base.shape[1]))
            return (new - base).to(like)

        return self.keep((name, like.device, like.dtype), difference)

    def location(self, nulls: tuple[bool, ...], rows: int, like: torch.Tensor) -> torch.Tensor:
        """The fifth channel of each row [B, 1, h, w]: 0 inside the boxes, 1 outside; 0 everywhere where a term has none."""

        def of_rows() -> torch.Tensor:
            outside = where.channel(self.boxes, self.height, self.width).to(like)
            shown = self.subjects.adapter.about.location
            return torch.cat([outside * (shown and not null) for null in nulls]).repeat_interleave(rows, dim=0)

        return self.keep(("location", like.device, like.dtype, nulls, rows), of_rows)


@dataclass(frozen=True, eq=False)
class Step:
    """A step with subjects: its run, β, and whether terms are three. watch: for a call whose attention is looked at."""

    run: Run
    strength: float
    levels: frozenset[str]
    three_terms: bool
    watch: steering.Watch | None = None


@dataclass(frozen=True, eq=False)
class Call:
    """A call of the UNet on ``rows`` rows a chunk. nulls: of each chunk, whether it leaves subjects out.

    words: of each chunk, where the words for each subject stand in its text. context: the texts [B, T, C]. first: what is added
    to the first convolution's result.
    """

    step: Step
    nulls: tuple[bool, ...]
    rows: int
    words: tuple = ()
    context: torch.Tensor | None = None
    first: torch.Tensor | None = None

    def check(self, given: torch.Tensor) -> None:
        if len(given) != self.rows * len(self.nulls):
            raise ValueError(
                f"Apply Subjects: a layer got {len(given)} rows, but needs {self.rows * len(self.nulls)}. Another node on the "
                "model cuts the batch or pictures into tiles; remove it."
            )


class First:
    """A function for `input_block_patch`: what the new first convolution adds."""

    @torch.compiler.disable
    def __call__(self, h, transformer_options):
        call = transformer_options.get(CALL)
        if call is None or transformer_options["block"] != ("input", 0):
            return h
        return h + call.first.to(h)


class Middle:
    """A function for `middle_patch`: the layer between self- and cross-attention."""

    def __init__(self, blocks: tuple[tuple[tuple[str, int], int], ...]):
        self.numbers = {block: number for number, block in enumerate(blocks)}

    @torch.compiler.disable
    def __call__(self, x, extra_options):
        call = extra_options.get(CALL)
        if call is None or not call.step.strength or level(extra_options) not in call.step.levels:
            return x
        call.check(x)
        number = self.numbers[extra_options["block"], extra_options.get("block_index", 0)]
        run, attend = call.step.run, partial(_attend, extra_options)
        shown = run.keys_values(number, call.nulls, call.rows, x)
        return run.networks.layers[number](x, shown, call.step.strength, attend)


def _attend(extra_options: dict, q, k, v, heads: int) -> torch.Tensor:
    return attention.attend(q, k, v, {**extra_options, "n_heads": heads})


class Text:
    """A function for `attn2_replace` of one layer: keys and values as they were trained beside the layers.

    What another node patched on the model's own keys and values (a LoRA) stays. previous: the replacement found in its place.
    """

    def __init__(self, layer: int, own: str, previous=None):
        self.layer, self.own, self.previous = layer, own, previous

    @torch.compiler.disable
    def __call__(self, q, k, v, extra_options):
        call = extra_options.get(CALL)
        if call is not None:
            k, v = self.trained(call, k, v)
            self._watch(call, q, k, extra_options)
        if self.previous is not None:
            return self.previous(q, k, v, extra_options)
        return attention.attend(q, k, v, extra_options)

    def trained(self, call: Call, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values [B, T, D] with what training changed, of those that the model's own weights made of the same texts."""
        call.check(k)
        texts = cast(torch.Tensor, call.context)
        keys, values = (
            projected + F.linear(texts.to(projected), self._exchanged(call, name, projected))
            for name, projected in (("to_k", k), ("to_v", v))
        )
        return keys, values

    @staticmethod
    def _watch(call: Call, q: torch.Tensor, k: torch.Tensor, extra_options: dict) -> None:
        watch = call.step.watch
        if watch is None or level(extra_options) not in steering.WATCHED:
            return
        size, latent = (tuple(extra_options[name][-2:]) for name in ("activations_shape", "original_shape"))
        for number, words in enumerate(call.words):
            if words:
                rows = slice(number * call.rows, (number + 1) * call.rows)
                watch.see(q[rows], k[rows], extra_options["n_heads"], words, size, latent)

    def _exchanged(self, call: Call, name: str, like: torch.Tensor) -> torch.Tensor:
        return call.step.run.exchanged(f"attn2.{self.layer}.{name}.weight", f"{self.own}{name}.weight", like)

    def add(self, *args, **kwargs):
        """Some packs add their own adapter to what they find here, in place, which would leak into other models."""
        raise ValueError(
            "Apply Subjects: another adapter node (IPAdapter, InstantID or PuLID of another pack) comes after Apply Subjects "
            "on the model, and would change it for other nodes too. Put that node before Apply Subjects."
        )
