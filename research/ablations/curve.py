"""Figure 11 drawn: a subject's looks against the caption, a line for each mode of guidance, a point for each scale."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from ..evaluate import LAMBDAS
from .arms import MODES
from .tables import CAPTION, LOOKS, Figures, means

SIZE, EDGE = (960, 640), (96, 40, 40, 80)
"""Width and height; left, top, right and bottom margin."""
COLOURS = dict(zip(MODES, ("#c0392b", "#2c6fbb", "#2e8b57", "#8a6d3b"), strict=True))
Point = tuple[float, float]


def points(found: Figures) -> dict[str, list[tuple[float, Point]]]:
    """Of each mode (scale, (caption probability, masked similarity)), of what was run."""
    made: dict[str, list[tuple[float, Point]]] = {}
    for mode in MODES:
        for scale in LAMBDAS:
            if f"{mode}@{scale:g}" in found:
                mean = means(found[f"{mode}@{scale:g}"])
                made.setdefault(mode, []).append((scale, (mean[CAPTION], mean[LOOKS])))
    return made


def draw(curves: Mapping[str, list[tuple[float, Point]]], path: Path) -> None:
    """Write a PNG. Raises ValueError where there is no point."""
    every = [point for curve in curves.values() for _, point in curve]
    if not every:
        raise ValueError("figure 11 has no point yet")
    low, high = ([chosen(point[axis] for point in every) for axis in (0, 1)] for chosen in (min, max))
    # A twentieth of room on each side, and never none at all.
    room = [max(0.05 * (b - a), 0.005) for a, b in zip(low, high, strict=True)]
    low, high = [a - r for a, r in zip(low, room, strict=True)], [b + r for b, r in zip(high, room, strict=True)]
    left, top, right, bottom = EDGE[0], EDGE[1], SIZE[0] - EDGE[2], SIZE[1] - EDGE[3]

    def at(point: Point) -> Point:
        x, y = ((value - a) / (b - a) for value, a, b in zip(point, low, high, strict=True))
        return left + x * (right - left), bottom - y * (bottom - top)

    picture = Image.new("RGB", SIZE, "white")
    pen, font, small = ImageDraw.Draw(picture), ImageFont.load_default(18), ImageFont.load_default(14)
    pen.rectangle((left, top, right, bottom), outline="#888888")
    for share in (0, 0.25, 0.5, 0.75, 1):
        x, y = (a + share * (b - a) for a, b in zip(low, high, strict=True))
        across, down = at((x, y))
        pen.line((across, top, across, bottom), fill="#e4e4e4")
        pen.line((left, down, right, down), fill="#e4e4e4")
        pen.text((across, bottom + 8), f"{x:.2f}", "black", small, anchor="mt")
        pen.text((left - 8, down), f"{y:.2f}", "black", small, anchor="rm")
    pen.text(((left + right) / 2, SIZE[1] - 24), "probability of the caption", "black", font, anchor="mm")
    pen.text((left, top - 20), "similarity of the subject, background cut away", "black", font, anchor="lm")
    for number, (mode, curve) in enumerate(curves.items()):
        places = [at(point) for _, point in curve]
        pen.line(places, COLOURS[mode], 3)
        for (scale, _), (x, y) in zip(curve, places, strict=True):
            pen.ellipse((x - 5, y - 5, x + 5, y + 5), COLOURS[mode])
            pen.text((x + 8, y - 10), f"{scale:g}", COLOURS[mode], small, anchor="lm")
        pen.text((right - 12, bottom - 16 - 24 * (len(curves) - 1 - number)), mode, COLOURS[mode], font, anchor="rm")
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, optimize=True)
