"""One concept as a user describes it, and the tools that turn descriptions into branches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..concepts import phrases
from ..concepts.boxes import Box
from ..concepts.places import box_of
from ..identity.faces import Choice
from ..joint.references import Reference


@dataclass(frozen=True, eq=False)
class Concept:
    """A concept of a scene, before it is looked for.

    phrase: normalised, what the detector looks for; empty where there is a mask. prompt: what is painted; empty for the scene's
    own words. pictures: of the person, each [H, W, 3 or 4] in 0..1. strength, control_strength: of the identity and of its face
    ControlNet. start, end: shares of the schedule in which both act. mask: [1 or B, H, W] in 0..1, its place; None where it is
    to be found. subject: reference pictures of a thing, painted as a joint set with these strength, start and end. face: which
    one of each picture. negative: what to steer away from; empty for the scene's. cfg, denoise: of `branch.Branch`.
    """

    phrase: str
    prompt: str = ""
    pictures: tuple[torch.Tensor, ...] = ()
    strength: float = 0.8
    control_strength: float = 0.8
    start: float = 0.0
    end: float = 1.0
    mask: torch.Tensor | None = None
    subject: tuple[Reference, ...] = ()
    face: Choice = Choice()
    negative: str = ""
    cfg: float | None = None
    denoise: float = 1.0


@dataclass(frozen=True, eq=False)
class SceneTools:
    """What a scene needs beside its model; None is a tool that was left out.

    detector: has `token_ids` and `detect` of `concepts.host.grounding.Detector`. segmenter: `segmenting.Segmenter`, None for
    masks in the shape of boxes. adapter: `identity.host.files.LoadedAdapter`. face_analysis: has `faces` of
    `identity.host.face_analysis.FaceAnalysis`. control_net: InstantID's, None to go without.
    """

    detector: Any = None
    segmenter: Any = None
    adapter: Any = None
    face_analysis: Any = None
    control_net: Any = None


def normalised(phrase: str) -> str:
    """A phrase as the detector reads it; blank stays empty. Raises ValueError unless it names one concept."""
    lines = [line for line in phrase.splitlines() if line.strip(" .")]
    if len(lines) > 1:
        raise ValueError(
            f"Concept: `phrase` has {len(lines)} lines, but names one concept. Write one line, and another Concept for each "
            "further one."
        )
    try:
        return phrases.split(phrase)[0] if lines else ""
    except ValueError as problem:
        raise ValueError(str(problem).replace("Find Concepts: the phrase", "Concept: `phrase` is")) from problem


def names_of(concepts: Sequence[Concept]) -> tuple[str, ...]:
    """What each is called in messages and on previews: its phrase, or its number."""
    return tuple(one.phrase or f"concept {number}" for number, one in enumerate(concepts, 1))


def check(concepts: Sequence[Concept], tools: SceneTools, pictures: torch.Tensor, has_vae: bool = True) -> None:
    """Raise unless every concept of base pictures [B, H, W, 3] can be placed and painted with these tools, and a VAE or none."""
    if not concepts:
        raise ValueError("Compose Scene: `concepts` is empty, but needs at least 1. Connect a Concept.")
    for number, one in enumerate(concepts, 1):
        if one.mask is None and not one.phrase:
            raise ValueError(
                f"Compose Scene: concept {number} has neither a `phrase` nor a `mask`, but needs a place. Write what to find, "
                "such as `a woman in red`, or connect a mask."
            )
        if one.mask is None and tools.detector is None:
            raise ValueError(
                f"Compose Scene: concept {number} (`{one.phrase}`) has no `mask`, and `tools` have no detector to find it. "
                "Choose a `detector` in Load Scene Tools, or connect a mask to every Concept."
            )
        if one.mask is not None and len(one.mask) not in (1, len(pictures)):
            raise ValueError(
                f"Compose Scene: the mask of concept {number} has {len(one.mask)} pictures, but `image` has {len(pictures)}. Use "
                f"a mask with 1 or {len(pictures)} pictures."
            )
        for tool, needed in (("face_analysis", "recognise the person"), ("adapter", "paint the person")):
            if one.pictures and getattr(tools, tool) is None:
                raise ValueError(
                    f"Compose Scene: concept {number} has pictures of a person, but `tools` have no {tool} to {needed}. Choose "
                    "one in Load Scene Tools, or disconnect its pictures."
                )
        if one.subject:
            _check_subject(one, number, has_vae)


def _check_subject(concept: Concept, number: int, has_vae: bool) -> None:
    if concept.pictures:
        raise ValueError(
            f"Compose Scene: concept {number} has pictures of a person (`images`) and a `subject`, but is one or the other. "
            "Disconnect one of them."
        )
    if not concept.prompt.strip():
        raise ValueError(
            f"Compose Scene: concept {number} has a `subject` but no `prompt`, and the words of the scene cannot be shared out "
            "to its references. Write what is painted in its place, or the scene's words once more."
        )
    if concept.strength < 0:
        raise ValueError(
            f"Compose Scene: the `strength` of concept {number} is {concept.strength:g}, but a `subject` needs 0 or more: 1 is "
            "as its recipe says. Raise it."
        )
    if not has_vae:
        raise ValueError(
            f"Compose Scene: concept {number} has a `subject`, whose pictures a VAE must read, but `vae` is empty. Connect the "
            "one that belongs to the model."
        )


def masked_box(mask: torch.Tensor) -> Box | None:
    """The box around a mask [H, W]; None, an empty concept, where it is black everywhere."""
    return box_of(mask) if mask.any() else None
