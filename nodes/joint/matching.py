"""Colours of the subject in generated pictures, moved to those of its references (sliced optimal transport).

For models that were never trained on sets. Attention carries over what is alike, but little by little: whose colours a subject
has is seen first and lost first. So the latents of its tokens, whichever place they have, are given the distribution that they
have in the references.
"""

from __future__ import annotations

from functools import cache

import torch

from .sharing import Sharing, otsu

FEWEST = 4
"""Tokens of a subject, in a picture or in its references, that have a distribution to speak of."""
TURNS = 20
"""Bases along whose axes the distributions are made alike, one after the other."""


def match_colors(
    pictures: torch.Tensor, mass: torch.Tensor, references: torch.Tensor, sharing: Sharing, amounts: tuple[float, ...]
) -> torch.Tensor:
    """Clean pictures of every set, [S * M, C, h, w], whose subjects have the colours of its references, [S * R, C, h, w].

    mass: how much each token attends to references, [S * M, h, w]; what is above Otsu's threshold in a picture is its subject,
    where `sharing.where` has several, each inside its own. Tokens of references are those in their mask. amounts: of each
    reference, how far its subject goes, from 0, which leaves it out, to 1.
    """
    made = mass > otsu(mass.flatten(1))[..., None]
    shown, given = sharing.subjects(references), references.unflatten(0, (-1, sharing.references))
    sets = len(given)
    outcome = pictures.clone()
    for number, (picture, subject) in enumerate(zip(outcome, made, strict=True)):
        one, position = divmod(number, len(pictures) // sets)
        for where, members in sharing.acting(one, position):
            members = [member for member in members if amounts[member]]
            if not members:
                continue
            inside = subject if where is None else subject & where.to(subject.device)
            tokens = torch.cat([given[one, member][:, shown[one, member]] for member in members], dim=1)
            mine = picture[:, inside]
            if min(mine.shape[1], tokens.shape[1]) >= FEWEST:
                picture[:, inside] = torch.lerp(mine, transport(mine, tokens), max(amounts[member] for member in members))
    return outcome


def transport(tokens: torch.Tensor, onto: torch.Tensor) -> torch.Tensor:
    """``tokens`` [C, n] with the distribution of ``onto`` [C, m], each moved as little as that allows along one axis at a time.

    Along an axis tokens keep their order and take the quantiles of the others (Rabin, Peyré, Delon, Bernot 2011).
    """
    moved, count, others = tokens.float(), tokens.shape[1], onto.shape[1]
    at = ((torch.arange(count, device=tokens.device) + 0.5) / count * others - 0.5).clamp(0, others - 1)
    low, high = at.floor().long(), at.ceil().long()
    for turn in _turns(len(tokens)).to(tokens.device):
        along = turn @ moved
        wanted = (turn @ onto.float()).sort(dim=1).values
        quantiles = torch.lerp(wanted[:, low], wanted[:, high], at - low)
        rank = along.argsort(dim=1).argsort(dim=1)
        moved = moved + turn.T @ (quantiles.gather(1, rank) - along)
    return moved.to(tokens)


@cache
def _turns(channels: int) -> torch.Tensor:
    """Orthonormal bases, [TURNS, C, C], the same at every step, so that steps agree."""
    drawn = torch.randn(TURNS, channels, channels, generator=torch.Generator().manual_seed(0))
    return torch.linalg.qr(drawn).Q
