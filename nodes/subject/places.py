"""Where a user wants a subject, as a `where` place."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..concepts.places import Boxes
from .where import Anywhere, Box
from .where import problem as problem_of

BOX, MASK, FOUND, OWN, ANYWHERE = "box", "mask", "found", "its own picture", "anywhere"
KINDS = (BOX, MASK, FOUND, OWN, ANYWHERE)
SOCKETS = {MASK: "where", FOUND: "boxes"}
"""Inputs that kinds need; no other kind may have them."""


@dataclass(frozen=True, eq=False)
class Wanted:
    """kind: one of KINDS. x, y, width, height: in shares of the picture. seed: for anywhere. where: a mask [P, H, W].

    boxes, concept: what Find Concepts found, and which of its concepts, from 1.
    """

    kind: str
    x: float
    y: float
    width: float
    height: float
    seed: int
    where: torch.Tensor | None = None
    boxes: Boxes | None = None
    concept: int = 1

    def place(self) -> Box | Anywhere | None:
        """None for its own picture. Raises ValueError for an input that is missing, not used, or holds no place."""
        for kind, name in SOCKETS.items():
            given = getattr(self, name) is not None
            if given and self.kind != kind:
                raise ValueError(
                    f"Subject: `{name}` is connected, but `place` is `{self.kind}`, which does not use it. Set `place` to "
                    f"`{kind}`, or disconnect it."
                )
            if not given and self.kind == kind:
                raise ValueError(f"Subject: `place` is `{kind}`, which needs `{name}`. Connect it, or choose another `place`.")
        if self.kind == BOX:
            return box(self.x, self.y, self.width, self.height)
        if self.kind == ANYWHERE:
            return Anywhere(self.seed)
        if self.where is not None:
            return _around(self.where)
        return None if self.boxes is None else _found(self.boxes, self.concept)


def box(x: float, y: float, width: float, height: float) -> Box:
    """The box of these shares of the picture. Raises ValueError for one that is empty or leaves the picture."""
    made = x, y, x + width, y + height
    if wrong := problem_of(made):
        raise ValueError(f"Subject: the box {wrong}.")
    return made


def _around(masks: torch.Tensor) -> Box:
    if len(masks) != 1:
        raise ValueError(f"Subject: `where` holds {len(masks)} masks, but needs one. Connect one of them, or paint one.")
    covered = masks[0] > 0.5
    if not covered.any():
        raise ValueError("Subject: `where` is black everywhere, but needs to be white where the subject goes. Paint its place.")
    return box_of(covered)


def box_of(covered: torch.Tensor) -> Box:
    """The box that holds what is True in [H, W], xyxy in shares of the picture."""
    rows, columns = covered.any(dim=1).nonzero().flatten(), covered.any(dim=0).nonzero().flatten()
    height, width = covered.shape
    return float(columns[0]) / width, float(rows[0]) / height, float(columns[-1] + 1) / width, float(rows[-1] + 1) / height


def _found(boxes: Boxes, concept: int) -> Box:
    if not 1 <= concept <= len(boxes.phrases):
        raise ValueError(
            f"Subject: `concept` is {concept}, but `boxes` has {len(boxes.phrases)} ({', '.join(boxes.phrases)}). Type a number "
            f"from 1 to {len(boxes.phrases)}."
        )
    if len(boxes.chosen) != 1:
        raise ValueError(f"Subject: `boxes` is of {len(boxes.chosen)} pictures, but needs one. Find the concepts in one picture.")
    box = boxes.chosen[0][concept - 1]
    if box is None:
        raise ValueError(
            f"Subject: `boxes` has no place for concept {concept}, `{boxes.phrases[concept - 1]}`: it was not found. Lower the "
            "thresholds of Find Concepts, or choose another `place`."
        )
    height, width = boxes.pictures.shape[1:3]
    left, top, right, bottom = box.corners
    return max(left / width, 0.0), max(top / height, 0.0), min(right / width, 1.0), min(bottom / height, 1.0)
