"""From described concepts to a model that paints them: what the node `Compose Scene` does, with the functions of the long graph.

In the order of the data: boxes and masks (Find Concepts, Concept Masks), for each concept its words, its person (Identity), the
face inside its own mask (Face Keypoints), the face ControlNet (Identity ControlNet), its branch (Concept Branch), and the
scene's hooks on the model (Concept Scene).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from ...concepts import choosing, detection
from ...concepts import masks as pipeline
from ...concepts.boxes import Box
from ...concepts.host import finding
from ...concepts.places import Boxes, Concepts, Finish
from ...identity import faces, keypoints, recognising
from ...identity.host import applying
from ...identity.host import files as identity_files
from ...identity.placement import Placement
from .. import blending
from .. import concept as described
from ..branch import Branch
from ..concept import Concept, SceneTools
from .runs import Scene

NODE = "Compose Scene"
PARTS = ("Find Concepts", "Concept Masks", "Identity ControlNet", "Concept Scene")
"""Nodes of the long graph, whose functions speak for them."""
REMEDIES = {
    r"look for `[^`]*` in a Find Concepts of its own and connect [^,]* `previous`": "give one a `mask`",
    r" with `index` 0 need ": " need ",
    r"Lower `index` \(0 is box 1\) or `box_threshold`": "Lower `box_threshold`",
    r"another `order` or `index`": "another `order`",
    r"or several Find Concepts nodes in a chain": "or give a Concept a `mask`",
    r"raise `grow` of Concept Masks": "raise `grow`",
    r"and chain all Concept Branch nodes": "and connect all Concepts to one Compose Scene",
}
"""What they advise that this node does not have, and what it has instead."""


@dataclass(frozen=True)
class Settings:
    """How concepts are found, cut out and painted.

    rule, thresholds: of `finding.find`. finish: of `finding.cut_out`. continue_from, last_steps: of `runs.Scene`.
    """

    rule: choosing.Rule
    thresholds: detection.Thresholds
    finish: Finish
    continue_from: str = blending.AUTO
    last_steps: int = 0


@dataclass(frozen=True, eq=False)
class Composed:
    """A scene on a model (a ModelPatcher), and where its K concepts are."""

    model: object
    boxes: Boxes
    concepts: Concepts


def compose(
    model, clip, tools: SceneTools, pictures: torch.Tensor, concepts: Sequence[Concept], positive: list, negative: list,
    settings: Settings,
) -> Composed:  # fmt: skip
    """A clone of the ModelPatcher ``model`` that paints K concepts where the base pictures [B, H, W, 3 or 4] have them.

    positive, negative: CONDITIONING lists; the words of concepts without a prompt, and what all concepts steer away from. Raises
    ValueError where a concept or a person is not found, masks do not fit, or a tool is missing.
    """
    described.check(concepts, tools, pictures)
    with _speaking():
        boxes = locate(tools.detector, pictures[..., :3], concepts, settings.rule, settings.thresholds)
        own = [None if one.mask is None else _fitted(one.mask, pictures, number) for number, one in enumerate(concepts, 1)]
        places = finding.cut_out(boxes, settings.finish, tools.segmenter, own)
        branches = tuple(
            branch(clip, tools, pictures, one, places.masks[:, number - 1], number, positive, negative)
            for number, one in enumerate(concepts, 1)
        )
        scene = Scene(branches, places, settings.continue_from, settings.last_steps, settings.finish.feather)
        return Composed(scene.install(model), boxes, places)


def locate(
    detector, pictures: torch.Tensor, concepts: Sequence[Concept], rule: choosing.Rule, thresholds: detection.Thresholds
) -> Boxes:
    """The boxes of all concepts on pictures [B, H, W, 3], in their order: those with a mask around it, the others found."""
    chosen: dict[int, list[Box | None]] = {}
    others: dict[int, list[tuple[Box, ...]]] = {}
    sought = [number for number, one in enumerate(concepts) if one.mask is None]
    if sought:
        found = finding.find(detector, pictures, [concepts[number].phrase for number in sought], rule, thresholds)
        for position, number in enumerate(sought):
            chosen[number] = [row[position] for row in found.chosen]
            others[number] = [row[position] for row in found.found]
    for number, one in enumerate(concepts):
        if one.mask is not None:
            boxes = [described.masked_box(mask) for mask in _fitted(one.mask, pictures, number + 1)]
            chosen[number] = [boxes[row % len(boxes)] for row in range(len(pictures))]
            others[number] = [(box,) if box else () for box in chosen[number]]
    rows, numbers = range(len(pictures)), range(len(concepts))
    return Boxes(
        described.names_of(concepts),
        pictures,
        tuple(tuple(chosen[number][row] for number in numbers) for row in rows),
        tuple(tuple(others[number][row] for number in numbers) for row in rows),
    )


def branch(
    clip, tools: SceneTools, pictures: torch.Tensor, concept: Concept, masks: torch.Tensor, number: int, positive: list,
    negative: list,
) -> Branch:  # fmt: skip
    """What paints a concept. masks: [B, H, W], where it is on the base pictures. number: from 1, for errors."""
    if concept.prompt.strip():
        if clip is None:
            raise ValueError(f"{NODE}: `clip` is empty: the checkpoint holds no text encoder. Connect one from another loader.")
        positive = clip.encode_from_tokens_scheduled(clip.tokenize(concept.prompt))
    if not concept.pictures:
        return Branch(positive, negative)
    who = f"{NODE}: concept {number}"
    person = faces.gather(recognising.choose_in_pictures(who, tools.face_analysis, list(concept.pictures), faces.Choice()))
    if tools.control_net is not None and concept.control_strength:
        place = f"the mask of concept {number}"
        chosen = recognising.choose_in_masks(NODE, tools.face_analysis, pictures, masks, faces.Choice(), place)
        size = pictures.shape[2], pictures.shape[1]
        drawn = torch.stack([keypoints.draw([one.keypoints] if one else [], *size) for one in chosen])
        how = concept.control_strength, concept.start, concept.end
        pair = positive, negative
        positive, negative = applying.add_control(*pair, tools.control_net, tools.adapter, person, drawn, *how)
    projection = identity_files.project(tools.adapter, person)
    return Branch(positive, negative, identity=Placement(projection, concept.strength, None, concept.start, concept.end))


def _fitted(mask: torch.Tensor, pictures: torch.Tensor, number: int) -> torch.Tensor:
    """A mask [P, h, w] on the pixels of pictures [B, H, W, 3]: [P, H, W]. number: of its concept, for errors."""
    height, width = pictures.shape[1:3]
    if tuple(mask.shape[-2:]) == (height, width):
        return mask
    if pipeline.stretched(mask, height, width):
        raise ValueError(
            f"{NODE}: the mask of concept {number} has {mask.shape[-1]}x{mask.shape[-2]} pixels, but `image` has another shape, "
            f"{width}x{height}. Give a mask of the picture's shape."
        )
    return pipeline.area_average(mask.float(), height, width)


@contextmanager
def _speaking() -> Iterator[None]:
    """What a part of the long graph says, said by this node."""
    try:
        yield
    except ValueError as problem:
        said = str(problem)
        speaker = next((part for part in (*PARTS, NODE) if said.startswith(f"{part}: ")), None)
        if speaker is None:
            raise
        for theirs, ours in REMEDIES.items():
            said = re.sub(theirs, ours, said)
        raise ValueError(NODE + said[len(speaker) :]) from problem
