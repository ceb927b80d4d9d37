"""A box on a picture."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Box:
    """left, top, right, bottom: pixels of the picture, y grows downwards, right and bottom exclusive. score: 0 to 1."""

    left: float
    top: float
    right: float
    bottom: float
    score: float = 1.0

    @property
    def area(self) -> float:
        return max(0.0, self.right - self.left) * max(0.0, self.bottom - self.top)

    @property
    def centre(self) -> tuple[float, float]:
        """(x, y)."""
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2

    @property
    def corners(self) -> tuple[float, float, float, float]:
        """xyxy."""
        return self.left, self.top, self.right, self.bottom

    def clipped(self, width: int, height: int) -> Box:
        """The part of the box that lies on a picture."""
        left, right = (min(max(x, 0.0), float(width)) for x in (self.left, self.right))
        top, bottom = (min(max(y, 0.0), float(height)) for y in (self.top, self.bottom))
        return replace(self, left=left, top=top, right=right, bottom=bottom)

    def overlap(self, other: Box) -> float:
        """Intersection over union, 0 to 1."""
        shared = Box(
            max(self.left, other.left), max(self.top, other.top), min(self.right, other.right), min(self.bottom, other.bottom)
        ).area
        union = self.area + other.area - shared
        return shared / union if union > 0 else 0.0

    def as_dict(self, label: str = "") -> dict:
        """The host's bounding box: whole pixels, with the keys that its own detectors add."""
        left, top, right, bottom = (round(value) for value in self.corners)
        return {"x": left, "y": top, "width": right - left, "height": bottom - top, "score": self.score, "label": label}


def without_duplicates(boxes: list[Box], most_overlap: float) -> list[Box]:
    """The boxes from best score to worst, without those that cover nearly the same place as a better one."""
    distinct: list[Box] = []
    for box in sorted(boxes, key=lambda box: -box.score):
        if all(box.overlap(other) <= most_overlap for other in distinct):
            distinct.append(box)
    return distinct
