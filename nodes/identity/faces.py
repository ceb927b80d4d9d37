"""Faces found in a picture, which of them is meant, and one identity from several pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

LARGEST, INDEX, LEFT_TO_RIGHT, NEAREST = "largest", "by score", "left to right", "nearest to point"
CHOICES = (LARGEST, LEFT_TO_RIGHT, NEAREST, INDEX)
AVERAGE, NORM_AVERAGE = "average", "norm average"
COMBINATIONS = (AVERAGE, NORM_AVERAGE)
"""How the embeddings of several pictures become one."""


@dataclass(frozen=True, eq=False)
class Face:
    """A face in a picture of ``width`` by ``height`` pixels.

    box_xyxy: [4] pixels. keypoints: [5, 2] (x, y) pixels: eyes, nose, corners of the mouth, image-left first.
    embedding: [E], as the recogniser gives it. score: of the detector, 0..1.
    """

    box_xyxy: torch.Tensor
    keypoints: torch.Tensor
    embedding: torch.Tensor
    score: float
    width: int
    height: int

    @property
    def area(self) -> float:
        x1, y1, x2, y2 = self.box_xyxy.tolist()
        return (x2 - x1) * (y2 - y1)

    @property
    def centre(self) -> tuple[float, float]:
        """(x, y) as shares of the picture's width and height."""
        x1, y1, x2, y2 = self.box_xyxy.tolist()
        return (x1 + x2) / 2 / self.width, (y1 + y2) / 2 / self.height


@dataclass(frozen=True, eq=False)
class Identity:
    """A person: one embedding [E] of the ``faces`` that were chosen, one from each picture.

    noise: how far nobody, whom conditioning is steered away from, lies from zeros; 0 or more.
    """

    embedding: torch.Tensor
    faces: tuple[Face, ...]
    noise: float = 0.0

    def nobody(self) -> torch.Tensor | None:
        """The embedding [E] of nobody: noise * u, u uniform in 0..1, drawn on the CPU; None for zeros.

        The seed comes of the person's own embedding, as in ComfyUI_InstantID, so that a person has one nobody everywhere.
        """
        if not self.noise:
            return None
        embedding = self.embedding.detach().float().cpu()
        if not embedding.isfinite().all():
            return None  # the adapter refuses it, with a remedy
        generator = torch.Generator().manual_seed(int(embedding.sum().item()) % 1_000_000_007)
        return self.noise * torch.rand(embedding.shape, generator=generator)


@dataclass(frozen=True)
class Choice:
    """Which face of a picture is meant.

    how: one of CHOICES. number: which, for `left to right` and `by score`, from 0. x, y: the point, shares of
    the picture in 0..1.
    """

    how: str = LARGEST
    number: int = 0
    x: float = 0.5
    y: float = 0.5


def choose(faces: Sequence[Face], choice: Choice, node: str, picture: str) -> Face:
    """The face of ``picture`` (its name, for errors) that is meant. Raises if there is none."""
    if not faces:
        raise ValueError(
            f"{node}: no face was found in {picture}, but one is needed. Use a picture in which a face is seen from the "
            "front and is neither tiny nor cut off; around a face that fills the picture leave some margin."
        )
    if choice.how == LARGEST:
        return max(faces, key=lambda face: face.area)
    if choice.how == NEAREST:
        return min(faces, key=lambda face: (face.centre[0] - choice.x) ** 2 + (face.centre[1] - choice.y) ** 2)
    ordered = sorted(faces, key=(lambda face: -face.score) if choice.how == INDEX else (lambda face: face.centre[0]))
    if choice.number >= len(ordered):
        raise ValueError(
            f"{node}: `number` is {choice.number}, but {len(ordered)} faces were found in {picture}. 0 is face 1: "
            f"choose one up to {len(ordered) - 1}, or another `face`."
        )
    return ordered[choice.number]


def inside(faces: Sequence[Face], mask: torch.Tensor) -> list[Face]:
    """The faces whose centre is white (over one half) in a mask [H, W] of their picture, of any size."""
    height, width = mask.shape

    def covered(face: Face) -> bool:
        x, y = (min(max(share, 0.0), 1.0) for share in face.centre)
        return bool(mask[min(int(y * height), height - 1), min(int(x * width), width - 1)] > 0.5)

    return [face for face in faces if covered(face)]


def choose_inside(faces: Sequence[Face], mask: torch.Tensor, choice: Choice, node: str, picture: str, place: str) -> Face:
    """As `choose`, among the faces inside a mask [H, W]. picture, place: names of the picture and the mask, for errors."""
    covered = inside(faces, mask)
    if not covered:
        raise ValueError(
            f"{node}: no face was found inside {place}: {picture} has {len(faces)} face{'s' * (len(faces) != 1)}, and the mask "
            f"covers {(mask > 0.5).float().mean():.1%} of it, but needs to cover the centre of a face. Paint the base picture "
            "with another seed or a prompt that shows this face from the front, choose another instance for this mask, or raise "
            "`grow` of Concept Masks."
        )
    return choose(covered, choice, node, f"{place} of {picture}")


def gather(chosen: Sequence[Face], combination: str = AVERAGE, noise: float = 0.0) -> Identity:
    """One person from a face in each of several pictures. combination: one of COMBINATIONS, of the raw embeddings.

    `norm average` is that of ComfyUI_InstantID: the mean after each number was divided by its root of squares over the pictures,
    so that what pictures disagree about vanishes and the rest is even. It changes nothing about one picture.
    """
    embeddings = torch.stack([face.embedding.float() for face in chosen])
    if combination == NORM_AVERAGE and len(chosen) > 1:
        embeddings = embeddings / embeddings.norm(dim=0).clamp_min(torch.finfo(embeddings.dtype).tiny)
    return Identity(embeddings.mean(0), tuple(chosen), noise)
