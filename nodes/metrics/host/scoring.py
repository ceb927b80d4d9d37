"""The callable layer: pictures, references, prompts and masks to scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ...data import pictures as reading
from ...joint.references import BACKGROUNDS, Reference, blank
from .. import similarity
from ..similarity import Scores
from .encoders import ScoreModels

NODE = "Score Subject"
BLACK = 0.5 / 255
"""A mask below this everywhere shows nothing of a picture in 8 bits."""


@dataclass(frozen=True)
class Measured:
    """scores: of each picture. notes: sentences on what could not be measured as it is, for the user."""

    scores: tuple[Scores, ...]
    notes: tuple[str, ...] = ()

    def text(self) -> str:
        """All of it in words, a line a picture, the mean first where there are several."""
        lines = [f"{number}: {similarity.line(scores)}" for number, scores in enumerate(self.scores, 1)]
        mean = [f"mean: {similarity.line(similarity.mean(self.scores))}"] if len(lines) > 1 else []
        return "\n".join((*mean, *lines, *self.notes))


def score(
    models: ScoreModels,
    pictures: Sequence[torch.Tensor],
    references: Sequence[Reference] = (),
    prompts: Sequence[str] = (),
    masks: Sequence[torch.Tensor] = (),
    background: str = "white",
) -> Measured:
    """Scores of pictures [H, W, 3] in 0..1 by JeDi's tables; what is not given is not measured.

    references: pictures of the subject; the mean over all of them counts. prompts: none, one for all or one a picture. masks:
    [H, W] of any size, where the subject of each picture is, one for all or one a picture; MCLIP-I and MDINO need one of every
    reference, too. background: the colour in place of what masks leave out, one of BACKGROUNDS. Neither paper says which; the
    rest of the picture keeps its place and size. Raises ValueError for other numbers of prompts or masks.
    """
    count = len(pictures)
    prompts, masks = _each("prompt", prompts, count), _each("masks", masks, count)
    notes: list[str] = []
    columns: dict[str, list[float | None]] = {}
    clip = models.clip.pictures(map(reading.as_picture, pictures), count) if models.clip else None
    if prompts and models.clip and clip is not None:
        different = list(dict.fromkeys(prompts))
        texts, long = models.clip.texts(different)
        columns["clip_t"] = similarity.to_own_text(clip, texts[[different.index(text) for text in prompts]]).tolist()
        cut = [number for number, text in enumerate(prompts, 1) if different.index(text) + 1 in long]
        notes += [f"CLIP reads only the first 77 tokens of the prompt of picture {_listed(cut)}."] * bool(cut)
    if references:
        whole = [reading.as_picture(one.picture) for one in references]
        for name, encoder in (("clip_i", models.clip), ("dino", models.dino)):
            if encoder:
                found = clip if encoder is models.clip else encoder.pictures(map(reading.as_picture, pictures), count)
                columns[name] = similarity.pairwise(found, encoder.pictures(whole, len(whole))).tolist()
        alone = [number for number, one in enumerate(references, 1) if _is_cut_out(one)]
        if alone:
            notes.append(
                f"Reference {_listed(alone)} has lost its background to its mask, so CLIP-I and DINO see it cut out, too: switch "
                "on keep_background of Reference Pictures for figures like the paper's."
            )
        columns |= _masked(models, pictures, references, masks, BACKGROUNDS[background], notes)
    rows = [Scores(**{name: column[row] for name, column in columns.items()}) for row in range(count)]
    return Measured(tuple(rows), tuple(notes))


def _masked(models, pictures, references, masks, level: float, notes: list[str]) -> dict[str, list[float | None]]:
    """MCLIP-I and MDINO of the pictures whose masks are not black."""
    if not masks:
        return {}
    without = [number for number, one in enumerate(references, 1) if one.mask is None]
    if without:
        notes.append(f"MCLIP-I and MDINO need a mask of every reference, but reference {_listed(without)} has none.")
        return {}
    black = [number for number, mask in enumerate(masks, 1) if mask.max() < BLACK]
    notes += [f"MCLIP-I and MDINO leave out picture {_listed(black)}: its mask is black everywhere."] * bool(black)
    seen = [place for place in range(len(pictures)) if place + 1 not in black]
    columns: dict[str, list[float | None]] = {}
    for name, encoder in (("mclip_i", models.clip), ("mdino", models.dino)):
        if not encoder or not seen:
            continue
        cut_out = encoder.pictures((on_colour(pictures[place], masks[place], level) for place in seen), len(seen))
        real = encoder.pictures((on_colour(one.picture, one.mask, level) for one in references), len(references))
        columns[name] = [None] * len(pictures)
        for place, value in zip(seen, similarity.pairwise(cut_out, real).tolist(), strict=True):
            columns[name][place] = value
    return columns


def on_colour(picture: torch.Tensor, mask: torch.Tensor, level: float):
    """A picture [H, W, 3] with grey ``level`` where ``mask`` [H, W] is 0, in 8 bits."""
    return reading.as_picture(blank(picture, mask, level))


def _is_cut_out(one: Reference) -> bool:
    """Whether what its mask leaves out is all of one colour, as Reference Pictures makes it."""
    if one.mask is None:
        return False
    outside = one.picture[one.mask < BLACK]
    return len(outside) > 0 and bool((outside - one.background).abs().max() < 1 / 255)


def _each(name: str, given: Sequence, count: int) -> list:
    if len(given) not in (0, 1, count):
        raise ValueError(
            f"{NODE}: `{name}` has {len(given)} for {count} pictures, but needs 1 or {count}. Give one for all, or one a picture "
            "in their order."
        )
    return list(given) * count if len(given) == 1 else list(given)


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
