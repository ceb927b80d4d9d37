"""InstantID's adapter: the resampler and a pair of key and value projections for each cross-attention layer.

A file is a dict of `image_proj` and `ip_adapter`; re-saved as safetensors these become prefixes. The pairs are
numbered 1, 3, 5, ... because the numbers count every attention of the UNet, self-attention first, in the order
of diffusers: down, up, middle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

from .resampler import HEAD, Resampler

PARTS = ("image_proj", "ip_adapter")
PUBLISHED = "InstantID's file `ip-adapter.bin` has 51 tensors in `image_proj` and 140 in `ip_adapter`"


@dataclass(frozen=True)
class Layer:
    """A cross-attention layer of a UNet: the host's name of its block, its position in the block, its channels."""

    block: tuple[str, int]
    index: int
    channels: int


@dataclass(frozen=True, eq=False)
class KeysValues:
    """One identity's keys and values for every layer in `in_file_order`: two lists of [F, D]."""

    keys: tuple[torch.Tensor, ...]
    values: tuple[torch.Tensor, ...]


def in_file_order(layers: Sequence[Layer]) -> list[Layer]:
    """Layers of a UNet in the adapter's order: blocks on the way down, on the way up, then the middle."""
    groups = ("input", "output", "middle")
    return sorted(layers, key=lambda layer: (groups.index(layer.block[0]), layer.block[1], layer.index))


class Pair(nn.Module):
    def __init__(self, width: int, channels: int):
        super().__init__()
        self.to_k_ip = nn.Linear(width, channels, bias=False)
        self.to_v_ip = nn.Linear(width, channels, bias=False)


class Adapter(nn.Module):
    """The networks of a file: ``image_proj`` and ``ip_adapter``, with exactly the file's parameter names."""

    def __init__(self, image_proj: Resampler, width: int, channels: Sequence[int]):
        super().__init__()
        self.image_proj = image_proj
        self.ip_adapter = nn.ModuleDict({str(2 * number + 1): Pair(width, count) for number, count in enumerate(channels)})

    @property
    def embedding(self) -> int:
        """Length of the face embedding that this adapter takes."""
        return self.image_proj.proj_in.in_features

    @property
    def channels(self) -> list[int]:
        """Channels of the layers, in the file's order."""
        return [pair.to_k_ip.out_features for pair in self._pairs()]

    def _pairs(self) -> list[Pair]:
        return cast(list[Pair], list(self.ip_adapter.values()))

    @torch.no_grad()
    def tokens(self, embedding: torch.Tensor) -> torch.Tensor:
        """Face tokens [F, width] of an embedding [E], raw as the recogniser gives it, not normalised."""
        if embedding.shape != (self.embedding,):
            raise ValueError(
                f"InstantID: the identity's embedding has shape {tuple(embedding.shape)}, but the adapter needs "
                f"({self.embedding},). Analyse the face with the pack that the adapter was trained with (antelopev2)."
            )
        if not embedding.isfinite().all():
            raise ValueError(
                "InstantID: the identity's embedding holds NaN or infinity, but needs numbers. Analyse the face again, with "
                "`device` of Load Face Analysis set to `cpu` if it was not."
            )
        weight = self.image_proj.proj_in.weight
        return self.image_proj(embedding.to(weight)[None, None])[0]

    def null_tokens(self, nobody: torch.Tensor | None = None) -> torch.Tensor:
        """Tokens of no identity, for conditioning that is steered away from: the resampler of ``nobody`` [E], or of zeros."""
        return self.tokens(torch.zeros(self.embedding) if nobody is None else nobody)

    @torch.no_grad()
    def keys_values(self, tokens: torch.Tensor) -> KeysValues:
        """What every layer attends to for ``tokens`` [F, width]: all projections of an identity, done once."""
        pairs = self._pairs()
        return KeysValues(tuple(p.to_k_ip(tokens) for p in pairs), tuple(p.to_v_ip(tokens) for p in pairs))


def build(state: dict, name: str) -> Adapter:
    """An adapter from what a file called ``name`` holds. Sizes follow the file; names and shapes must fit exactly.

    Raises ValueError with what is wrong and what is needed.
    """
    state = flat(state, name)
    try:
        adapter = _like(state)
    except (KeyError, ValueError, IndexError, RuntimeError) as problem:
        raise ValueError(f"{name} is not an InstantID adapter: {problem}. {PUBLISHED}") from problem
    needed = {key: tuple(value.shape) for key, value in adapter.state_dict().items()}
    given = {key: tuple(value.shape) for key, value in state.items()}
    problems = [f"`{key}` is missing" for key in needed.keys() - given.keys()]
    problems += [f"`{key}` is not known" for key in given.keys() - needed.keys()]
    problems += [
        f"`{key}` has shape {given[key]}, needs {needed[key]}" for key in needed if given.get(key, needed[key]) != needed[key]
    ]
    if problems:
        shown = "; ".join(sorted(problems)[:3]) + ("; ..." if len(problems) > 3 else "")
        raise ValueError(f"{name} is not an InstantID adapter ({len(problems)} tensors do not fit): {shown}. {PUBLISHED}")
    adapter.load_state_dict({key: value.float() for key, value in state.items()}, assign=True)
    return adapter.eval().requires_grad_(False)


def flat(state: dict, name: str) -> dict[str, torch.Tensor]:
    """The published nested dict as one with prefixes; one with prefixes stays as it is."""
    if set(state) == set(PARTS):
        for part in PARTS:
            if not isinstance(state[part], dict):
                kind = type(state[part]).__name__
                raise ValueError(f"{name} is not an InstantID adapter: its `{part}` is a {kind}, not weights. {PUBLISHED}")
        state = {f"{part}.{key}": value for part in PARTS for key, value in state[part].items()}
    odd = [key for key, value in state.items() if not torch.is_tensor(value) or key.split(".")[0] not in PARTS]
    if odd or not state:
        what = f"holds `{sorted(map(str, odd))[0]}`" if odd else "is empty"
        raise ValueError(f"{name} is not an InstantID adapter: it {what}, but needs `image_proj` and `ip_adapter`. {PUBLISHED}")
    return state


def _like(state: dict[str, torch.Tensor]) -> Adapter:
    """An adapter without weights of the sizes that a file's tensors have; raises if they make no sense."""
    if not any(key.startswith("ip_adapter.") for key in state):
        raise ValueError("it has no tensors in `ip_adapter`")
    _, tokens, width = state["image_proj.latents"].shape
    if not width or width % HEAD:
        raise ValueError(f"its resampler is {width} channels wide, which is not a multiple of {HEAD}")
    depth = len({key.split(".")[2] for key in state if key.startswith("image_proj.layers.")})
    inner = state["image_proj.layers.0.1.1.weight"].shape[0]
    output, embedding = state["image_proj.proj_out.weight"].shape[0], state["image_proj.proj_in.weight"].shape[1]
    count = len({key.split(".")[1] for key in state if key.startswith("ip_adapter.")})
    channels = [state[f"ip_adapter.{2 * number + 1}.to_k_ip.weight"].shape[0] for number in range(count)]
    with torch.device("meta"):
        return Adapter(Resampler(width, depth, tokens, embedding, output, inner), output, channels)


def check_layers(needed: list[int], layers: Sequence[Layer], node: str = "Apply Identity") -> None:
    """Refuse a model whose cross-attention layers are not those that an adapter was made for. needed: their channels."""
    given = [layer.channels for layer in layers]
    if given != needed:
        raise ValueError(
            f"{node}: the model has {_summary(given)}, but the adapter needs {_summary(needed)}. "
            "Use the kind of checkpoint that the adapter was trained for; InstantID's is for Stable Diffusion XL."
        )


def _summary(channels: Sequence[int]) -> str:
    widths = ", ".join(f"{list(channels).count(width)} of {width}" for width in sorted(set(channels)))
    return f"{len(channels)} cross-attention layers ({widths} channels)"
