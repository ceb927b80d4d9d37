"""Draw the pack's icon and banner for the registry: `python3 research/emblem.py`, into docs/.

One toy in several scenes, drawn with Pillow alone.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

FOLDER = Path(__file__).resolve().parent.parent / "docs"
SCENES = (("#f9a75c", "#e09a55"), ("#8fd3f4", "#ecd795"), ("#c3c9d6", "#ffffff"), ("#0b1030", "#2a1a12"), ("#1c8ba0", "#8c7d5e"))
"""Sky and ground of each scene."""
LEFT, RIGHT, OUTLINE = "#e40b2e", "#2af0ea", "#17171c"
FINE = 4
"""Drawn so many times larger and scaled down, for smooth edges."""


def scene(side: int, colours: tuple[str, str], angle: float) -> Image.Image:
    """The toy, turned by ``angle`` degrees, in a scene of ``side`` pixels with round corners."""
    full = side * FINE
    picture = Image.new("RGB", (full, full), colours[0])
    ImageDraw.Draw(picture).rectangle((0, full * 0.66, full, full), fill=colours[1])
    one = toy(int(full * 0.62)).rotate(angle, Image.Resampling.BICUBIC, expand=True)
    picture.paste(one, ((full - one.width) // 2, (full - one.height) // 2 + full // 20), one)
    corners = Image.new("L", (full, full))
    ImageDraw.Draw(corners).rounded_rectangle((0, 0, full - 1, full - 1), full // 10, fill=255)
    picture.putalpha(corners)
    return picture.resize((side, side), Image.Resampling.LANCZOS)


def toy(side: int) -> Image.Image:
    """The toy alone, a box in two colours with two eyes, RGBA."""
    line, radius = side // 16, side // 8
    body = Image.new("L", (side, side))
    ImageDraw.Draw(body).rounded_rectangle((0, 0, side - 1, side - 1), radius, fill=255)
    one = Image.new("RGB", (side, side), RIGHT)
    draw = ImageDraw.Draw(one)
    draw.rectangle((0, 0, side * 0.46, side), fill=LEFT)
    draw.rounded_rectangle((0, 0, side - 1, side - 1), radius, outline=OUTLINE, width=line)
    for x in (0.36, 0.66):
        for share, colour in ((0.13, "white"), (0.07, OUTLINE)):
            draw.ellipse([side * (at + sign * share) for sign in (-1, 1) for at in (x, 0.42)], fill=colour)
    one.putalpha(body)
    return one


def icon(side: int = 400) -> Image.Image:
    """Two pictures of the one toy, one over the other."""
    whole, part = Image.new("RGBA", (side, side)), side * 7 // 10
    for place, colours, angle in ((0, SCENES[1], 14), (side - part, SCENES[3], -10)):
        one = scene(part, colours, angle)
        whole.paste(one, (place, place), one)
    return whole


def banner(width: int = 1260, height: int = 540) -> Image.Image:
    """A reference, and the toy in four scenes beside it, at 21:9."""
    whole = Image.new("RGB", (width, height), "#22242b")
    large, small, gap = 400, 192, 16
    left = (width - large - 4 * gap - 2 * small - 160) // 2
    reference = scene(large, SCENES[0], 18)
    whole.paste(reference, (left, (height - large) // 2), reference)
    draw = ImageDraw.Draw(whole)
    tip, middle = left + large + 130, height // 2
    draw.line((tip - 90, middle, tip - 20, middle), fill="white", width=12)
    draw.polygon([(tip, middle), (tip - 36, middle - 26), (tip - 36, middle + 26)], fill="white")
    for number, (colours, angle) in enumerate(zip(SCENES[1:], (-8, 12, -16, 6), strict=True)):
        one = scene(small, colours, angle)
        at = tip + 50 + number % 2 * (small + gap), (height - 2 * small - gap) // 2 + number // 2 * (small + gap)
        whole.paste(one, at, one)
    return whole


if __name__ == "__main__":
    icon().save(FOLDER / "icon.png", optimize=True)
    banner().save(FOLDER / "banner.png", optimize=True)
