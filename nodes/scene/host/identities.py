"""Which identity acts in which branch of a scene, so that branches with different people share one model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from ...identity import adapter as adapters
from ...identity.host import face_control
from ...identity.host.sampling import CHOSEN, IdentitySampling, cross_attention_layers
from ...identity.placement import Placement


def added(model, new: Sequence[Placement]):
    """A clone of a ModelPatcher with more identities on it, or itself if there are none to add."""
    if not new:
        return model
    layers = cross_attention_layers(model)
    for one in new:
        adapters.check_layers([keys.shape[-1] for keys in one.projection.present.keys], layers, "Concept Scene")
    return IdentitySampling((*IdentitySampling.on(model).identities, *new)).install(model)


def on_its_own_model(branch):
    """A `Branch` with its identity on its own model; as it is if it has none of both."""
    if branch.model is None or branch.identity is None:
        return branch
    return replace(branch, model=added(branch.model, [branch.identity]), identity=None)


def assign(background, concepts: Sequence, branches: Sequence) -> None:
    """Concepts on the background's model get their own identity, or one that was on it before, in order; the background none.

    background, concepts: guiders of one run, a concept's with its `number`. branches: all `Branch` of the scene, from number 1.
    Conditioning that names its identities keeps them. So all branches share one model, and a batch.
    """
    identities = IdentitySampling.on(background.model_patcher).identities
    if not identities:
        return
    shared = {number: branch for number, branch in enumerate(branches, 1) if branch.model is None}
    owned = {number: identities.index(branch.identity) for number, branch in shared.items() if branch.identity is not None}
    bare = [number for number in shared if number not in owned]
    chained = [position for position in range(len(identities)) if position not in owned.values()]
    if chained and len(chained) != len(bare):
        raise ValueError(
            f"Concept Scene: the model has {len(chained)} identities, but {len(bare)} Concept Branch nodes without an identity "
            "or a model of their own. Connect identities to Concept Branch nodes, or put one Apply Identity for each of them "
            "before Concept Scene, in the order of the chain."
        )
    positions = owned | dict(zip(bare, chained, strict=False))
    background.conds = _named(background.conds, ())
    for concept in concepts:
        if concept.number not in shared:
            continue
        mine = positions.get(concept.number)
        for entry in concept.original_conds["positive"]:
            _check_faces(entry, identities, mine, concept.number)
        concept.original_conds = _named(concept.original_conds, () if mine is None else (mine,))


def _check_faces(entry: dict, identities: Sequence[Placement], mine: int | None, concept: int) -> None:
    """Raise if a face ControlNet of this concept has the face of another concept's identity."""
    for face in () if CHOSEN in entry else face_control.faces_of(entry):
        same = [number for number, one in enumerate(identities) if _equal(one.projection.tokens, face.tokens)]
        if same and mine not in same:
            raise ValueError(
                f"Concept Scene: concept {concept} has another person's face in its Identity ControlNet than it has as its "
                "identity. Connect one identity to both; Apply Identity nodes need the order of the Concept Branch chain."
            )


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one.float().cpu(), other.float().cpu(), rtol=1e-3, atol=1e-4)


def _named(conds: dict[str, list[dict]], identities: tuple[int, ...]) -> dict[str, list[dict]]:
    return {name: [{CHOSEN: identities, **entry} for entry in entries] for name, entries in conds.items()}
