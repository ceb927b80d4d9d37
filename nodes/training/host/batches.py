"""Batches of a training: sets of a source, drawn to a size, encoded, and put together with others of their shape."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

import torch

from ...data.examples import PictureSet
from ..settings import Settings
from .base import NAME
from .encoding import Encoded, Encoder
from .step import Sets


class Stream(Iterator[PictureSet], Protocol):
    """An endless source that knows where it is, such as `data.mixing.Mixture`."""

    def state_dict(self) -> dict: ...

    def load_state_dict(self, state: dict) -> None: ...


Shape = tuple[int, int, int]
"""Pictures of a set, height and width of its latents."""


class Batches:
    """Endless batches of an endless ``source``. It goes on where it was by `state_dict`.

    Sets that wait for others of their shape are part of its state.
    """

    def __init__(self, source: Stream, encoder: Encoder, settings: Settings, seed: int):
        self.source, self.encoder, self.settings = source, encoder, settings
        self.generator = torch.Generator().manual_seed(seed)
        self.waiting: dict[Shape, list[Encoded]] = {}

    def __next__(self) -> Sets:
        while True:
            one = self._drawn(next(self.source))
            encoded = self.encoder.encode(one)
            shape = (len(encoded.latents), *encoded.latents.shape[-2:])
            waiting = self.waiting.setdefault(shape, [])
            waiting.append(encoded)
            if len(waiting) >= self.settings.sets(shape[0]):
                return self.encoder.together(self.waiting.pop(shape))

    def _choices(self) -> dict[str, str]:
        return {"checkpoint": self.encoder.base.known_by, **self.settings.lasting}

    def _drawn(self, one: PictureSet) -> PictureSet:
        """Some of a set's pictures, in any order, as many as are drawn."""
        shares = torch.tensor(self.settings.shares(len(one)))
        count = 1 + int(torch.multinomial(shares, 1, generator=self.generator))
        chosen = torch.randperm(len(one), generator=self.generator)[:count].tolist()
        pictures, captions = ([values[number] for number in chosen] for values in (one.pictures, one.captions))
        return replace(one, pictures=tuple(pictures), captions=tuple(captions))

    def state_dict(self) -> dict:
        waiting = [(one.latents, list(one.texts), one.places) for sets in self.waiting.values() for one in sets]
        state = {"choices": self._choices(), "source": self.source.state_dict()}
        return {**state, "generator": self.generator.get_state(), "waiting": waiting}

    def load_state_dict(self, state: dict) -> None:
        for name, now in self._choices().items():
            before = state["choices"].get(name)
            if before != now:
                raise ValueError(
                    f"{NAME}: the run was begun with `{name}` {before}, but {now} was given. Give the same to go on, or another "
                    "name of the output, or folder of the run, to begin anew."
                )
        self.source.load_state_dict(state["source"])
        self.generator.set_state(state["generator"])
        self.waiting = {}
        for latents, texts, places in state["waiting"]:
            self.waiting.setdefault((len(latents), *latents.shape[-2:]), []).append(Encoded(latents, tuple(texts), places))
