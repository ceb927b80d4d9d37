"""From described concepts to a model that paints them: what the node `Compose Scene` does, with the functions of the long graph.

In the order of the data: boxes and masks (Find Concepts, Concept Masks), for each concept its words, its person (Identity), the
face inside its own mask (Face Keypoints), the face ControlNet (Identity ControlNet), or its references (Joint Set, JeDi), its
branch (Concept Branch), and the scene's hooks on the model (Concept Scene).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

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
from ...joint import settings as joint_settings
from ...joint.host import sets
from .. import blending
from .. import concept as described
from ..branch import Branch
from ..concept import Concept, SceneTools
from .runs import Scene
from .speaking import NODE, as_compose_scene


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
class Painter:
    """What all concepts are painted with: a ModelPatcher, the host's CLIP and VAE (None where there is none), a scene's tools.

    positive, negative: CONDITIONING lists; the words of concepts without a prompt, and what concepts without a `negative` of
    their own steer away from.
    """

    model: Any
    clip: Any
    vae: Any
    tools: SceneTools
    positive: list
    negative: list


@dataclass(frozen=True, eq=False)
class Composed:
    """A scene on a model (a ModelPatcher), and where its K concepts are."""

    model: object
    boxes: Boxes
    concepts: Concepts


def compose(painter: Painter, pictures: torch.Tensor, concepts: Sequence[Concept], settings: Settings) -> Composed:
    """A clone of the painter's model that paints K concepts where the base pictures [B, H, W, 3 or 4] have them.

    Raises ValueError where a concept or a person is not found, masks do not fit, or a tool is missing.
    """
    described.check(concepts, painter.tools, pictures, painter.vae is not None)
    with as_compose_scene():
        boxes = locate(painter.tools.detector, pictures[..., :3], concepts, settings.rule, settings.thresholds)
        own = [None if one.mask is None else _fitted(one.mask, pictures, number) for number, one in enumerate(concepts, 1)]
        places = finding.cut_out(boxes, settings.finish, painter.tools.segmenter, own)
        branches = tuple(
            branch(painter, pictures, one, places.masks[:, number - 1], number) for number, one in enumerate(concepts, 1)
        )
        how = settings.continue_from, settings.last_steps, settings.finish.feather
        return Composed(Scene(branches, places, *how, as_compose_scene).install(painter.model), boxes, places)


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


def branch(painter: Painter, pictures: torch.Tensor, concept: Concept, masks: torch.Tensor, number: int) -> Branch:
    """What paints a concept. masks: [B, H, W], where it is on the base pictures. number: from 1, for errors."""
    painted = Branch(painter.positive, painter.negative, cfg=concept.cfg, denoise=concept.denoise)
    if concept.negative.strip():
        painted = replace(painted, negative=_encoded(painter.clip, concept.negative))
    if concept.subject:
        with as_compose_scene(f"concept {number}: "):
            return _of_subject(painter, pictures, concept, painted)
    if concept.prompt.strip():
        painted = replace(painted, positive=_encoded(painter.clip, concept.prompt))
    return _of_person(painter.tools, pictures, concept, masks, number, painted) if concept.pictures else painted


def _encoded(clip, text: str) -> list:
    if clip is None:
        raise ValueError(f"{NODE}: `clip` is empty: the checkpoint holds no text encoder. Connect one from another loader.")
    return clip.encode_from_tokens_scheduled(clip.tokenize(text))


def _of_person(
    tools: SceneTools, pictures: torch.Tensor, concept: Concept, masks: torch.Tensor, number: int, painted: Branch
) -> Branch:
    """A branch with the person of the concept's pictures, and with the face ControlNet where the tools have one."""
    who = f"{NODE}: concept {number}"
    person = faces.gather(recognising.choose_in_pictures(who, tools.face_analysis, list(concept.pictures), concept.face))
    if tools.control_net is not None and concept.control_strength:
        place = f"the mask of concept {number}"
        chosen = recognising.choose_in_masks(NODE, tools.face_analysis, pictures, masks, faces.Choice(), place)
        size = pictures.shape[2], pictures.shape[1]
        drawn = torch.stack([keypoints.draw([one.keypoints] if one else [], *size) for one in chosen])
        how = concept.control_strength, concept.start, concept.end
        pair = painted.positive, painted.negative
        positive, negative = applying.add_control(*pair, tools.control_net, tools.adapter, person, drawn, *how)
        painted = replace(painted, positive=positive, negative=negative)
    projection = identity_files.project(tools.adapter, person)
    return replace(painted, identity=Placement(projection, concept.strength, None, concept.start, concept.end))


def _of_subject(painter: Painter, pictures: torch.Tensor, concept: Concept, painted: Branch) -> Branch:
    """A branch whose model paints a joint set of the concept's references: one set for each base picture, of its size.

    The recipe is JeDi's `auto`; strength, start and end are those of attending to the references.
    """
    height, width = pictures.shape[1:3]
    prepared = sets.prepare(
        painter.clip, painter.vae, concept.subject, [concept.prompt], sets=len(pictures), width=width, height=height
    )
    options = sets.options_of(joint_settings.AUTO, painter.model, prepared.joint_set)
    options = replace(options, coupling_start=concept.start, coupling_end=concept.end)
    chosen = joint_settings.Settings(options=options, strength=concept.strength)
    model = sets.apply(painter.model, prepared.joint_set, chosen)
    return replace(painted, positive=prepared.positive, model=model, joint_set=prepared.joint_set)


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
