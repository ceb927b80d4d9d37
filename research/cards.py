"""Draw the cards of the workflows that need a checkpoint: `python3 research/cards.py`, into workflows/.

No result of such a checkpoint can be made here, so a card is a drawing and says so; the demos' cards are pictures that they
painted.
"""

from __future__ import annotations

if not __package__:
    from pack import load

    load()

from PIL import Image, ImageDraw, ImageFont
from same_subject.dev import pack
from same_subject.research import emblem

SIDE = 640
FINE = 3
"""Drawn so many times larger and scaled down, for smooth edges."""
DARK, LIGHT = "#22242b", "#f2f2f4"
SKY, GRASS, SUN = "#bfe0f7", "#8fbf6a", "#ffd976"
PEOPLE = (("#e9b48f", "#7a3b1d", "#c8372d"), ("#d9a07a", "#2b2b30", "#2f6fb3"))
"""Skin, hair and clothes of each."""
SILHOUETTE = "#15161a"


def card(needs: str) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """An empty card with its line of words, in fine pixels."""
    whole = Image.new("RGB", (SIDE * FINE, SIDE * FINE), DARK)
    draw = ImageDraw.Draw(whole)
    font = ImageFont.load_default(size=30 * FINE)
    draw.text((SIDE * FINE / 2, 604 * FINE), f"a drawing · {needs}", fill=LIGHT, font=font, anchor="mm")
    return whole, draw


def person(draw: ImageDraw.ImageDraw, x: float, ground: float, size: float, look: tuple[str, str, str]) -> None:
    """Head and shoulders, standing on ``ground``; ``size`` is the width of the shoulders. Fine pixels."""
    skin, hair, clothes = look
    head, middle = size * 0.26, ground - size * 0.86

    def disc(across: float, down: float, radius: float, colour: str) -> None:
        draw.ellipse((across - radius, down - radius, across + radius, down + radius), fill=colour)

    disc(x, middle - head * 0.12, head * 1.16, hair)
    draw.rounded_rectangle((x - size / 2, ground - size * 0.5, x + size / 2, ground + size), size * 0.3, fill=clothes)
    draw.rectangle((x - head * 0.35, middle, x + head * 0.35, ground - size * 0.42), fill=skin)
    disc(x, middle, head, skin)
    if skin == SILHOUETTE:
        return
    draw.chord((x - head, middle - head, x + head, middle + head * 0.6), 195, 345, fill=hair)
    for side in (-1, 1):
        disc(x + side * head * 0.38, middle + head * 0.08, head * 0.1, DARK)
    draw.arc((x - head * 0.4, middle, x + head * 0.4, middle + head * 0.62), 25, 155, fill=DARK, width=int(head * 0.09))


def framed(width: int, height: int, looks: list[tuple[float, tuple[str, str, str]]], shoulders: float) -> Image.Image:
    """A park with people at shares of its width, in fine pixels, with round corners."""
    across, down = width * FINE, height * FINE
    picture = Image.new("RGB", (across, down), SKY)
    draw = ImageDraw.Draw(picture)
    draw.ellipse((across * 0.78, down * 0.08, across * 0.78 + 60 * FINE, down * 0.08 + 60 * FINE), fill=SUN)
    draw.rectangle((0, down * 0.7, across, down), fill=GRASS)
    for share, look in looks:
        person(draw, across * share, down * 0.92, shoulders * FINE, look)
    corners = Image.new("L", picture.size)
    ImageDraw.Draw(corners).rounded_rectangle((0, 0, across - 1, down - 1), 20 * FINE, fill=255)
    picture.putalpha(corners)
    return picture


def arrow(draw: ImageDraw.ImageDraw, x: float, top: float) -> None:
    """A short arrow that points down."""
    x, top, size = x * FINE, top * FINE, 22 * FINE
    draw.line((x, top, x, top + size), fill=LIGHT, width=9 * FINE)
    draw.polygon([(x - size, top + size * 0.8), (x + size, top + size * 0.8), (x, top + size * 1.9)], fill=LIGHT)


def subject(family: str) -> Image.Image:
    """One picture of a toy, and below it the toy in two new scenes."""
    whole, draw = card(f"needs an {family} checkpoint")
    for side, at, colours, angle in ((230, (205, 20), 0, 18), (290, (20, 290), 1, -8), (290, (330, 290), 2, 12)):
        one = emblem.scene(side * FINE, emblem.SCENES[colours], angle)
        whole.paste(one, (at[0] * FINE, at[1] * FINE), one)
    arrow(draw, 120, 150)
    arrow(draw, 520, 150)
    return whole


def people(places: bool) -> Image.Image:
    """Two portraits, the masks of their places where these are given, and below them both in one picture."""
    whole, draw = card("needs an SDXL checkpoint")
    above = [framed(190, 190, [(0.5, look)], 130) for look in PEOPLE]
    if places:
        blank = (SILHOUETTE,) * 3
        above.insert(1, framed(190, 190, [(0.28, blank), (0.72, blank)], 76))
    gap = (SIDE - 190 * len(above)) / (len(above) + 1)
    for number, one in enumerate(above):
        left = gap + number * (190 + gap)
        whole.paste(one, (int(left * FINE), 20 * FINE), one)
        arrow(draw, left + 95, 218)
    both = framed(600, 300, [(0.32, PEOPLE[0]), (0.66, PEOPLE[1])], 190)
    whole.paste(both, (20 * FINE, 272 * FINE), both)
    return whole


def cards() -> dict[str, Image.Image]:
    """All cards, by the name of their workflow."""
    return {
        "My Subject in New Scenes - SD 1.5": subject("SD 1.5"),
        "My Subject in New Scenes - SDXL": subject("SDXL"),
        "Two People in One Picture - SDXL": people(places=False),
        "People in Places You Paint - SDXL": people(places=True),
    }


if __name__ == "__main__":
    for name, whole in cards().items():
        small = whole.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        small.save(pack.ROOT / "workflows" / f"{name}.jpg", quality=85, optimize=True)
