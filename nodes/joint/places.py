"""Where subjects are in the pictures to generate, by the word for each in the pictures' own texts (ConsiStory, section 3.1).

Found while sampling: what the tokens of a picture attend to in its text says more at every step. At the first step nothing is
known, and nothing of these references is seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from .sharing import otsu

SMALLEST = 8
"""Tokens on the shorter side of a layer that shows where things are."""
TINY = 1e-12

AS_GIVEN, BY_WORD = "as given", "by its word"
PLACES = (AS_GIVEN, BY_WORD)


@dataclass(frozen=True)
class Words:
    """The words of K subjects in the texts of a set's pictures to generate.

    subjects: of each reference, which of the K it shows; None where its place is given. positions: of each picture, of each
    subject, where the tokens of its word stand, and last, those of the words after all of these, which name the background.
    lengths: tokens of each picture's text.
    """

    subjects: tuple[int | None, ...]
    positions: tuple[tuple[tuple[int, ...], ...], ...]
    lengths: tuple[int, ...]

    def of_pictures(self, pictures: Sequence[int]) -> Words:
        """For some pictures of a set, counted from 0."""
        positions = tuple(self.positions[picture] for picture in pictures)
        return replace(self, positions=positions, lengths=tuple(self.lengths[picture] for picture in pictures))

    def attended(self, q: torch.Tensor, k: torch.Tensor, heads: int) -> torch.Tensor:
        """How much tokens of pictures to generate attend to each of the ``positions``, [S * M, K + 1, L], the mean over heads.

        q: [S * M, L, D], k: [S * M, T, D], heads folded into D. What follows the text's own tokens does not count.
        """
        found = []
        for row, (queries, keys) in enumerate(zip(q, k, strict=True)):
            picture = row % len(self.lengths)
            weights = attention_to_text(by_heads(queries, heads), by_heads(keys[: self.lengths[picture]], heads))
            found.append(torch.stack([weights[:, list(own)].sum(dim=-1) for own in self.positions[picture]]))
        return torch.stack(found)


def by_heads(x: torch.Tensor, heads: int) -> torch.Tensor:
    """[L, heads * D] -> [heads, L, D], in float32."""
    return x.unflatten(-1, (heads, -1)).transpose(0, 1).float()


def attention_to_text(q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    """What tokens q [heads, L, D] attend to of a text k [heads, T, D], [L, T], the mean over heads."""
    return (q @ k.mT / q.shape[-1] ** 0.5).softmax(dim=-1).mean(dim=0)


def clearest(maps: Sequence[torch.Tensor], size: tuple[int, int]) -> torch.Tensor:
    """Maps [P, K, h', w'] of several layers as one on the latent grid, [P, K, h, w].

    The mean of the layers below the latent's own resolution with at least `SMALLEST` tokens a side; of the finest if there is
    none of these.
    """
    clear = [each for each in maps if tuple(each.shape[-2:]) != tuple(size) and min(each.shape[-2:]) >= SMALLEST]
    finest = max(each.shape[-1] * each.shape[-2] for each in maps)
    clear = clear or [each for each in maps if each.shape[-1] * each.shape[-2] == finest]
    return torch.stack([F.interpolate(each, size, mode="bilinear") for each in clear]).mean(dim=0)


def divided(heat: torch.Tensor) -> torch.Tensor:
    """Which tokens belong to which subject, [P, K, h, w] of 0 and 1, by their attention to the words, [P, K + 1, h, w].

    Attention to a subject's word is taken as a share of that to all subjects' words and to those after them, and this as one of
    its mean over the picture. A token belongs to the subject of which it has the largest, if that is above Otsu's threshold.
    """
    own, after = heat[:, :-1].flatten(2), heat[:, -1:].flatten(2)
    own = torch.where(after.amax(dim=-1, keepdim=True) > 0, own / (own.sum(dim=1, keepdim=True) + after).clamp(min=TINY), own)
    own = own / own.mean(dim=-1, keepdim=True).clamp(min=TINY)
    above = own > otsu(own.flatten(0, 1)).view(*own.shape[:2], 1)
    largest = F.one_hot(own.argmax(dim=1), own.shape[1]).movedim(-1, 1).bool()
    return (above & largest).to(heat).unflatten(-1, heat.shape[-2:])


class Places:
    """What the steps of one run have said of where subjects are."""

    def __init__(self, words: Words, given: torch.Tensor | None, sets: int) -> None:
        """given: where references act by their masks, [R, M, h, w], or None for everywhere."""
        self.words, self.given, self.sets = words, given, sets
        self._sum: torch.Tensor | None = None

    def add(self, heat: torch.Tensor) -> None:
        """A step's attention to the words, [S * M, K + 1, h, w], NaN in pictures it says nothing of. Every step counts alike."""
        heat = heat.nan_to_num().cpu()
        self._sum = heat if self._sum is None else self._sum + heat

    def where(self, size: tuple[int, int]) -> torch.Tensor:
        """On which part of each picture each reference acts, [S * R, M, h, w]; what is found by words, inside what is given."""
        references, pictures = len(self.words.subjects), len(self.words.lengths)
        given = torch.ones(references, pictures, *size) if self.given is None else self.given.float().cpu()
        where = given.repeat(self.sets, 1, 1, 1).unflatten(0, (self.sets, references))
        found = None if self._sum is None else divided(self._sum).unflatten(0, (self.sets, pictures))
        for number, subject in enumerate(self.words.subjects):
            if subject is not None:
                where[:, number] *= 0 if found is None else found[:, :, subject]
        return where.flatten(0, 1)
