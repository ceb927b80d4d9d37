"""The picture of a face's five keypoints that InstantID's ControlNet was trained on (`draw_kps` of its release).

Pixel by pixel what OpenCV's `ellipse2Poly`, `fillConvexPoly` and `circle` draw, without needing OpenCV: the
same integer arithmetic, so that a picture is the same on every machine.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch

COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255))
"""RGB by point: left eye, right eye (as seen), nose, left and right corner of the mouth."""
LIMBS = ((0, 2), (1, 2), (3, 2), (4, 2))
"""Pairs of points; a limb has its first point's colour."""
HALF_WIDTH = 4
RADIUS = 10
DIMMED = 0.6
"""What limbs are multiplied with before the points are drawn."""
SINES = tuple(struct.unpack("f", struct.pack("f", round(math.sin(math.radians(d)), 7)))[0] for d in range(451))
"""OpenCV's table of sines of whole degrees: seven decimals, in single precision."""
ONE = 1 << 16
"""1 in OpenCV's fixed-point coordinates."""

Point = tuple[int, int]
Span = tuple[int, int, int]
"""(y, first x, last x): pixels of a row, both ends included."""


def draw(faces: Sequence[torch.Tensor], width: int, height: int) -> torch.Tensor:
    """The keypoint picture, [height, width, 3] in 0..1. faces: keypoints [5, 2] (x, y) in its pixels, back to front.

    With one face it is the published drawing. Several faces (not published) have all limbs below all points.
    """
    canvas = torch.zeros(height, width, 3, dtype=torch.uint8)
    for points in faces:
        for first, second in LIMBS:
            dimmed = [int(value * DIMMED) for value in COLOURS[first]]
            _fill(canvas, convex_spans(limb_polygon(points[first], points[second]), width, height), dimmed)
    for points in faces:
        for point, colour in zip(points.tolist(), COLOURS, strict=True):
            _fill(canvas, circle_spans((int(point[0]), int(point[1])), RADIUS), colour)
    return canvas.float() / 255


def limb_polygon(a: torch.Tensor, b: torch.Tensor) -> list[Point]:
    """The ellipse between points ``a`` and ``b``, (x, y) in pixels, in whole degrees and whole pixels."""
    a, b = a.float(), b.float()
    x, y = (a - b).tolist()
    centre = ((a + b) / 2).tolist()
    length = float((a - b).square().sum().sqrt())
    angle = int(math.degrees(math.atan2(y, x)))
    return ellipse((int(centre[0]), int(centre[1])), (int(length / 2), HALF_WIDTH), angle)


def ellipse(centre: Point, half_axes: tuple[int, int], angle: int) -> list[Point]:
    """A whole ellipse, turned by ``angle`` degrees, as a polygon with a point each degree (cv2.ellipse2Poly)."""
    cosine, sine = SINES[angle % 360 + 90], SINES[angle % 360]
    polygon: list[Point] = []
    for degree in range(361):
        x, y = half_axes[0] * SINES[degree + 90], half_axes[1] * SINES[degree]
        point = (round(centre[0] + x * cosine - y * sine), round(centre[1] + x * sine + y * cosine))
        if not polygon or point != polygon[-1]:
            polygon.append(point)
    return polygon if len(polygon) > 1 else [centre, centre]


def convex_spans(polygon: Sequence[Point], width: int, height: int) -> Iterator[Span]:
    """The pixels of a filled convex polygon in a picture of this size (cv2.fillConvexPoly): its outline, then its rows."""
    for before, point in pairwise((polygon[-1], *polygon)):
        yield from ((y, x, x) for x, y in line(before, point, width, height))
    if len(polygon) < 3:
        return
    count, edges = len(polygon), len(polygon)
    top = min(range(count), key=lambda number: polygon[number][1])
    first, last = polygon[top][1], min(max(y for _, y in polygon), height - 1)
    sides = [{"at": top, "turn": turn, "x": -ONE, "slope": 0, "until": first} for turn in (1, count - 1)]
    for y in range(first, last + 1):
        for side in sides:
            if y < side["until"]:
                continue
            start, end = side["at"], (side["at"] + side["turn"]) % count
            while edges > 0:
                edges -= 1
                if polygon[end][1] > y:
                    rows, x = polygon[end][1] - y, polygon[start][0] * ONE
                    slope = _divide((polygon[end][0] * ONE - x) * 2 + rows, 2 * rows)
                    side.update(at=end, x=x, slope=slope, until=polygon[end][1])
                    break
                start, end = end, (end + side["turn"]) % count
        left, right = sorted(side["x"] for side in sides)
        yield y, (left + ONE // 2) // ONE, (right + ONE // 2) // ONE
        for side in sides:
            side["x"] += side["slope"]


def circle_spans(centre: Point, radius: int) -> Iterator[Span]:
    """The rows of a filled circle, with repetitions (cv2.circle)."""
    error, dx, dy, plus, minus = 0, radius, 0, 1, 2 * radius - 1
    while dx >= dy:
        for y, reach in ((dy, dx), (-dy, dx), (dx, dy), (-dx, dy)):
            yield centre[1] + y, centre[0] - reach, centre[0] + reach
        dy += 1
        error += plus
        plus += 2
        if error > 0:
            error -= minus
            dx -= 1
            minus -= 2


def line(a: Point, b: Point, width: int, height: int) -> Iterator[Point]:
    """The pixels from ``a`` to ``b`` inside a picture (cv2.line, 8-connected)."""
    ends = _clip(a, b, width - 1, height - 1)
    if ends is None:
        return
    (x, y), (x2, y2) = sorted(ends, key=lambda point: point[0])  # from left to right; equal x keep their order
    dx, dy, down = x2 - x, abs(y2 - y), 1 if y2 >= y else -1
    steep = dy > dx
    major, minor = (dy, dx) if steep else (dx, dy)
    error = major - 2 * minor
    for _ in range(major + 1):
        yield x, y
        both = error < 0
        error += 2 * major * both - 2 * minor
        x += both or not steep
        y += down * (both or steep)


def _clip(a: Point, b: Point, right: int, bottom: int) -> tuple[Point, Point] | None:
    """The part of a line inside 0..right, 0..bottom (cv2.clipLine), or None."""

    def sides(x: int, y: int) -> int:
        return (x < 0) + (x > right) * 2 + (y < 0) * 4 + (y > bottom) * 8

    (x1, y1), (x2, y2) = a, b
    c1, c2 = sides(x1, y1), sides(x2, y2)
    if not c1 & c2 and c1 | c2:
        if c1 & 12:
            edge = 0 if c1 < 8 else bottom
            x1, y1 = x1 + int((edge - y1) * (x2 - x1) / (y2 - y1)), edge
            c1 = sides(x1, 0) & 3
        if c2 & 12:
            edge = 0 if c2 < 8 else bottom
            x2, y2 = x2 + int((edge - y2) * (x2 - x1) / (y2 - y1)), edge
            c2 = sides(x2, 0) & 3
        if not c1 & c2 and c1 | c2:
            if c1:
                edge = 0 if c1 == 1 else right
                x1, y1, c1 = edge, y1 + int((edge - x1) * (y2 - y1) / (x2 - x1)), 0
            if c2:
                edge = 0 if c2 == 1 else right
                x2, y2, c2 = edge, y2 + int((edge - x2) * (y2 - y1) / (x2 - x1)), 0
    return ((x1, y1), (x2, y2)) if not c1 | c2 else None


def _divide(a: int, b: int) -> int:
    """Division of integers towards zero."""
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def _fill(canvas: torch.Tensor, spans: Iterator[Span], colour: Sequence[int]) -> None:
    height, width = canvas.shape[:2]
    value = torch.tensor(colour, dtype=torch.uint8)
    for y, left, right in spans:
        if 0 <= y < height and right >= 0 and left < width:
            canvas[y, max(left, 0) : right + 1] = value
