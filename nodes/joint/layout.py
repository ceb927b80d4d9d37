"""Which row of a batch is which picture of which set."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from .places import Words

MOST_PICTURES = 64
"""Most pictures to generate in a set; noise indices of set s start at s * MOST_PICTURES."""


@dataclass(frozen=True)
class Layout:
    """S sets of M generated pictures and R references: B = S * (M + R) rows, set-major, generated first.

    Generated rows come first so that the host's live preview, which shows row 0, shows one of them.
    """

    sets: int
    pictures: int
    references: int

    @property
    def size(self) -> int:
        """N, pictures in a set."""
        return self.pictures + self.references

    @property
    def rows(self) -> int:
        """B, rows of the whole batch."""
        return self.sets * self.size

    @property
    def generated_rows(self) -> list[int]:
        return [row for row in range(self.rows) if row % self.size < self.pictures]

    @property
    def reference_rows(self) -> list[int]:
        return [row for row in range(self.rows) if row % self.size >= self.pictures]

    @property
    def noise_index(self) -> list[int]:
        """The host's `batch_index`, B entries: picture j of set s always draws noise s * 64 + j.

        So a picture keeps its noise when M or S changes. References share the index of the set's first
        picture; whatever is drawn for them is replaced by the set's own noise.
        """
        return [
            (row // self.size) * MOST_PICTURES + (row % self.size if row % self.size < self.pictures else 0)
            for row in range(self.rows)
        ]

    def of_pictures(self, given: torch.Tensor) -> torch.Tensor:
        """What is ``given`` for 1, M (in every set), S * M or B rows, for each picture to generate: [S * M, ...].

        Raises ValueError for another number; its text is what would do.
        """
        made = self.sets * self.pictures
        if len(given) == self.rows:
            return given[self.generated_rows]
        counts = sorted({1, self.pictures, made})
        if len(given) not in counts:
            raise ValueError(f"{', '.join(map(str, counts))} or {self.describe()}")
        return given.repeat(made // len(given), *[1] * (given.ndim - 1))

    def describe(self) -> str:
        return (
            f"{self.rows} rows ({self.sets} set{'s' * (self.sets != 1)} of "
            f"{self.pictures} generated + {self.references} reference pictures)"
        )


@dataclass(frozen=True, eq=False)
class Named:
    """Captions of the references, the word of each for its subject (or nothing), and the text encoder that reads them."""

    captions: tuple[str, ...]
    subjects: tuple[str, ...]
    clip: Any


@dataclass(frozen=True, eq=False)
class Held:
    """Rows that are put back at every step and come out of a run as they were: clean latents and one fixed epsilon of each.

    rows: in order. latents: unscaled, and noise: [len(rows), C, h, w].
    """

    rows: list[int]
    latents: torch.Tensor
    noise: torch.Tensor


@dataclass(frozen=True, eq=False)
class JointSet:
    """A joint set: where its rows are, and the references as the sampler must see them.

    references: clean latents as the VAE gives them: [R, C, h, w], shown in every set, or [S * R, C, h, w], each
    set's own. noise: one fixed epsilon a
    reference and set, [S, R, C, h, w]. key: names this set in its conditioning, so that another
    set's conditioning is noticed. masks: the subject of each reference on the latent
    grid, [h, w], None where it is not known. strengths, where: see `sharing.Sharing`. named: what the references' texts say.
    words: of subjects whose place is found while sampling, or None.
    start: clean latents that the pictures begin from, [S * M, C, h, w], or None for noise alone. known: rows of pictures that
    are finished and stay what they are in ``start``; known_noise: the epsilon of each, [len(known), C, h, w].
    """

    layout: Layout
    references: torch.Tensor
    noise: torch.Tensor
    key: str
    masks: tuple[torch.Tensor | None, ...] = ()
    strengths: tuple[float, ...] = ()
    where: torch.Tensor | None = None
    named: Named | None = None
    start: torch.Tensor | None = None
    known: tuple[int, ...] = ()
    known_noise: torch.Tensor | None = None
    words: Words | None = None

    @functools.cached_property
    def held(self) -> Held:
        """The references, and the pictures that are known."""
        rows, noise = sorted((*self.layout.reference_rows, *self.known)), torch.zeros_like(self.latent())
        noise[self.layout.reference_rows] = self.reference_noise().to(noise)
        if self.known_noise is not None:
            noise[list(self.known)] = self.known_noise.to(noise)
        return Held(rows, self.latent()[rows], noise[rows])

    @property
    def made_rows(self) -> list[int]:
        """Rows of the pictures that a run makes."""
        return [row for row in self.layout.generated_rows if row not in self.known]

    def reference_latents(self) -> torch.Tensor:
        """The clean latents of every reference row, [S * R, C, h, w], in row order."""
        own = len(self.references) == self.layout.sets * self.layout.references
        return self.references if own else self.references.repeat(self.layout.sets, 1, 1, 1)

    def reference_noise(self) -> torch.Tensor:
        """The epsilon of every reference row, [S * R, C, h, w], in row order."""
        return self.noise.flatten(0, 1)

    def shown_masks(self) -> torch.Tensor | None:
        """The masks as [R, h, w] or [S * R, h, w], white where none is known; None if none is known at all."""
        if all(mask is None for mask in self.masks):
            return None
        white = self.references.new_ones(self.references.shape[-2:])
        return torch.stack([white if mask is None else mask for mask in self.masks])

    def of_rows(self, rows: Sequence[int]) -> JointSet:
        """The part of it that some ``rows`` of the batch are: whole sets, or some pictures of one set and all its references."""
        layout = self.layout
        numbers = sorted({row // layout.size for row in rows})
        shown = [row % layout.size for row in rows if row // layout.size == numbers[0] and row % layout.size < layout.pictures]
        smaller = Layout(len(numbers), len(shown), layout.references)

        def of_sets(values: Any) -> Any:
            """Of what each reference of each set has, that of these sets; what all sets share stays."""
            each = layout.references
            own = len(values) == layout.sets * each
            return [values[number * each + place] for number in numbers for place in range(each)] if own else values

        begun = [place for place, row in enumerate(layout.generated_rows) if row in rows]
        known = {row: place for place, row in enumerate(self.known) if row in rows}
        return replace(
            self,
            layout=smaller,
            references=torch.stack(list(of_sets(self.references))) if layout.references else self.references,
            noise=self.noise[numbers],
            masks=tuple(of_sets(self.masks)),
            where=None if self.where is None else torch.stack(list(of_sets(self.where[:, shown]))),
            words=None if self.words is None else self.words.of_pictures(shown),
            start=None if self.start is None else self.start[begun],
            known=tuple(place for place, row in enumerate(rows) if row in known),
            known_noise=self.known_noise[list(known.values())] if known and self.known_noise is not None else None,
        )

    def latent(self) -> torch.Tensor:
        """The batch a sampler starts from, [B, C, h, w]: zeros or ``start`` to generate, clean latents to keep."""
        latent = self.references.new_zeros((self.layout.rows, *self.references.shape[1:]))
        latent[self.layout.reference_rows] = self.reference_latents()
        if self.start is not None:
            latent[self.layout.generated_rows] = self.start.to(latent)
        return latent


def seed_of(*parts: int | str) -> int:
    """A seed in 63 bits made of several numbers; others give another one."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def draw_noise(seed: int, sets: int, references: int, shape: tuple[int, ...]) -> torch.Tensor:
    """One fixed epsilon for each reference of each set, [S, R, *shape], each from its own generator.

    The paper leaves open whether epsilon is drawn once or at every step. It is drawn once here, so
    that a reference follows one diffusion path whatever the sampler does with its own noise.
    """

    noise = [_drawn(f"{seed}/{number}/{position}", shape) for number in range(sets) for position in range(references)]
    return torch.stack(noise).unflatten(0, (sets, references)) if noise else torch.zeros(sets, 0, *shape)


def draw_known_noise(seed: int, layout: Layout, known: tuple[int, ...], shape: tuple[int, ...]) -> torch.Tensor | None:
    """One fixed epsilon for each row of known pictures, [len(known), *shape], by its set and place in it; None without any."""
    places = [divmod(row, layout.size) for row in known]
    noise = [_drawn(f"{seed}/{number}/picture {position}", shape) for number, position in places]
    return torch.stack(noise) if noise else None


def _drawn(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed_of(name)))


def key_of(layout: Layout, texts: list[str], *tensors: torch.Tensor, known: tuple[int, ...] = ()) -> str:
    """A name for a set made of what it holds: equal sets have equal names."""
    digest = hashlib.sha256(repr((layout, texts, *known)).encode())
    for tensor in tensors:
        digest.update(tensor.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
