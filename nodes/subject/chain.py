"""What a user says of subjects: a picture of each, its class, and where it goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .tokens import Grounding
from .where import Anywhere, Box


@dataclass(frozen=True, eq=False)
class Subject:
    """One subject. name: of its class. cls: [D], what stands for it in the prompt. patches: [P, C], what the layers look at."""

    name: str
    cls: torch.Tensor
    patches: torch.Tensor
    place: Box | Anywhere


@dataclass(frozen=True, eq=False)
class Subjects:
    """The subjects of a picture in their order, and what they were encoded for. adapter: a `host.loading.SubjectAdapter`."""

    adapter: Any
    each: tuple[Subject, ...]


def check_name(name: str) -> None:
    """Raise ValueError unless ``name`` says what a subject is."""
    if not name.strip():
        raise ValueError("Subject: `class_name` is empty, but needs a word for what it is, such as `dog`. Type one.")


def tokens(
    proj: Grounding, each: Sequence[Subject], boxes: Sequence[Box] | None, slots: int, device: torch.device
) -> torch.Tensor:
    """The tokens [T, width] of subjects for all layers, in float32. boxes: theirs; None where none are told.

    slots: how many subjects there are tokens for at least; the rest is absent.
    """
    patches = torch.stack([one.patches for one in each]).to(device, torch.float32)
    shown = proj(patches, None if boxes is None else torch.tensor(boxes, device=device))
    return torch.cat((shown, proj.absent(max(0, slots - len(each)), shown)))
