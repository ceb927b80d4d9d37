"""The five scores of JeDi's tables, from embeddings (sections 4 and 6, "Evaluation metric"; Ruiz et al., 2023, section 4.1)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields

import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class Scores:
    """Cosines of one picture; None where one was not asked for, or could not be.

    clip_t: to its prompt. clip_i, dino: the mean over the references, whole pictures. mclip_i, mdino: the same on pictures with
    one colour in place of their backgrounds.
    """

    clip_t: float | None = None
    clip_i: float | None = None
    mclip_i: float | None = None
    dino: float | None = None
    mdino: float | None = None


NAMES = tuple(field.name for field in fields(Scores))
TITLES = {"clip_t": "CLIP-T", "clip_i": "CLIP-I", "mclip_i": "MCLIP-I", "dino": "DINO", "mdino": "MDINO"}


def pairwise(generated: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """The mean cosine of each of ``generated`` [B, D] to all of ``real`` [R, D]: [B]. Raises ValueError without a real one."""
    if not len(real):
        raise ValueError("there is nothing to compare with")
    return (unit(generated) @ unit(real).T).mean(dim=1)


def among(pictures: torch.Tensor) -> float:
    """The mean cosine of two different ones of ``pictures`` [B, D]: how much they are of one subject (table 8).

    Raises ValueError for less than two.
    """
    if len(pictures) < 2:
        raise ValueError(f"{len(pictures)} picture was given, but pairs need at least 2")
    each = unit(pictures).double()
    return mean_of_pairs(each @ each.T)


def mean_of_pairs(cosines: torch.Tensor) -> float:
    """The mean of ``cosines`` [B, B] of each with each, over all pairs of two different ones."""
    count = len(cosines)
    return ((cosines.sum() - cosines.diagonal().sum()) / (count * (count - 1))).item()


def to_own_text(pictures: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
    """CLIP-T: the cosine of each of ``pictures`` [B, D] to its own of ``texts`` [B, D], or to a single one [1, D]: [B].

    Neither scaled nor cut off at 0, as Custom Diffusion's code does with it.
    """
    return (unit(pictures) * unit(texts)).sum(dim=1)


def unit(vectors: torch.Tensor) -> torch.Tensor:
    """``vectors`` [B, D] of length 1, in single precision at least."""
    return F.normalize(vectors.to(torch.promote_types(vectors.dtype, torch.float32)), dim=-1)


def mean(every: Iterable[Scores]) -> Scores:
    """The mean of each score over those that have it; None where none has."""
    columns = zip(*(astuple(each) for each in every), strict=True)
    return Scores(*(_mean([value for value in column if value is not None]) for column in columns))


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def line(scores: Scores) -> str:
    """The scores in words: `CLIP-T 0.304  CLIP-I 0.782`, without those that are not there."""
    said = ((TITLES[name], getattr(scores, name)) for name in NAMES)
    return "  ".join(f"{title} {value:.4f}" for title, value in said if value is not None)
