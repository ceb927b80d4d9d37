"""Draw the cards of the workflows that need a checkpoint: `python3 research/cards.py`, into workflows/.

No result of such a checkpoint can be made here, so a card is a drawing and says so; the demos' cards are pictures that they
painted: with --painted FOLDER the one of subjects, of the results of `dev/demo.py --subjects`; with --sets SHARDS that of sets,
of what `research/synthesize.py --demo` has made.
"""

from __future__ import annotations

if not __package__:
    from pack import load

    load()

import argparse
from pathlib import Path

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


def album() -> Image.Image:
    """Eight pictures of a toy, two of them chosen, and below them the toy in a new scene."""
    whole, draw = card("needs an SD 1.5 checkpoint")
    side, chosen = 132, (1, 6)
    for number in range(8):
        left, top = 22 + number % 4 * 154, 16 + number // 4 * 146
        one = emblem.scene(side * FINE, emblem.SCENES[number % len(emblem.SCENES)], 12 * (number % 5 - 2))
        whole.paste(one, (left * FINE, top * FINE), one)
        if number in chosen:
            edges = [edge * FINE for edge in (left - 4, top - 4, left + side + 4, top + side + 4)]
            draw.rounded_rectangle(edges, 16 * FINE, outline=SUN, width=6 * FINE)
    arrow(draw, SIDE / 2, 308)
    large = emblem.scene(216 * FINE, emblem.SCENES[1], 20)
    whole.paste(large, ((SIDE - 216) // 2 * FINE, 366 * FINE), large)
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


def subjects() -> Image.Image:
    """A toy and a person cut out, and below them both in one picture, each in its box."""
    whole, draw = card("needs SD 2 and an adapter")
    toy, side = emblem.toy(190 * FINE), 190 * FINE
    both = framed(600, 300, [(0.72, PEOPLE[1])], 190)
    small = toy.rotate(12, Image.Resampling.BICUBIC, expand=True).resize((150 * FINE, 150 * FINE), Image.Resampling.LANCZOS)
    both.paste(small, (90 * FINE, 110 * FINE), small)
    boxes = ImageDraw.Draw(both)
    for box in ((80, 100, 250, 270), (325, 44, 540, 285)):
        dashed(boxes, [edge * FINE for edge in box])
    for number, left in enumerate((86, 364)):
        square = Image.new("RGB", (side, side), "white")
        if number:
            person(ImageDraw.Draw(square), side / 2, side, side * 0.62, PEOPLE[1])
        else:
            inner = toy.resize((side * 3 // 4,) * 2, Image.Resampling.LANCZOS).rotate(-8, Image.Resampling.BICUBIC, expand=True)
            square.paste(inner, ((side - inner.width) // 2, (side - inner.height) // 2), inner)
        whole.paste(square, (left * FINE, 20 * FINE))
        arrow(draw, left + 95, 218)
    whole.paste(both, (20 * FINE, 272 * FINE), both)
    return whole


def dashed(draw: ImageDraw.ImageDraw, box: list[int]) -> None:
    """The outline of a box, in dashes."""
    left, top, right, bottom = box
    dash, line = 14 * FINE, 5 * FINE
    for start in range(0, right - left, 2 * dash):
        for y in (top, bottom):
            draw.line((left + start, y, min(left + start + dash, right), y), fill="white", width=line)
    for start in range(0, bottom - top, 2 * dash):
        for x in (left, right):
            draw.line((x, top + start, x, min(top + start + dash, bottom)), fill="white", width=line)


def painted(folder: Path) -> Image.Image:
    """The toys of the demo of subjects, and below them the picture of both. folder: where dev/demo.py has put it."""
    whole, gap = Image.new("RGB", (512, 512), "white"), 4
    side = (512 - gap) // 2
    for number, toy in enumerate(sorted((pack.ROOT / "demo").glob("toy_*.png"))):
        whole.paste(Image.open(toy).convert("RGB").resize((side, side), Image.Resampling.BICUBIC), (number * (side + gap), 0))
    both = Image.open(folder / "two_subjects.png").convert("RGB").resize((512, side), Image.Resampling.BICUBIC)
    whole.paste(both, (0, side + gap))
    return whole


def sets() -> Image.Image:
    """A collage of one toy on plain ground, and below it the toy in two scenes."""
    whole, draw = card("needs SDXL and two more")
    plain, side = Image.new("RGBA", (560 * FINE, 190 * FINE), "#f4f1ea"), 130 * FINE
    for number, angle in enumerate((-10, 8, 24)):
        toy = emblem.toy(side).rotate(angle, Image.Resampling.BICUBIC, expand=True)
        left = (number * 2 + 1) * plain.width // 6 - toy.width // 2
        plain.paste(toy, (left, (plain.height - toy.height) // 2), toy)
    whole.paste(plain, (40 * FINE, 20 * FINE))
    for side, at, colours, angle in ((280, (25, 292), 1, -10), (280, (335, 292), 2, 24)):
        one = emblem.scene(side * FINE, emblem.SCENES[colours], angle)
        whole.paste(one, (at[0] * FINE, at[1] * FINE), one)
        arrow(draw, at[0] + side / 2, 226)
    return whole


def painted_sets(shards: Path) -> Image.Image:
    """Two sets that the demo of sets has made and not stylised, the most alike, one below the other. shards: where they are."""
    from same_subject.nodes.data.opening import open_source

    whole, gap = Image.new("RGB", (512, 512), "white"), 4
    side = (512 - gap) // 2
    plain = [one for one in open_source(shards).sets(0, 0) if not one.about["style"]]
    for row, one in enumerate(sorted(plain, key=lambda one: -one.about["affinity"])[:2]):
        for column, picture in enumerate(one.pictures[:2]):
            whole.paste(picture.resize((side, side), Image.Resampling.BICUBIC), (column * (side + gap), row * (side + gap)))
    return whole


def cards() -> dict[str, Image.Image]:
    """All cards, by the name of their workflow."""
    return {
        "My Subject in New Scenes - SD 1.5": subject("SD 1.5"),
        "My Subject in New Scenes - SDXL": subject("SDXL"),
        "The Nearest of Many Pictures - SD 1.5": album(),
        "Two People in One Picture - SDXL": people(places=False),
        "People in Places You Paint - SDXL": people(places=True),
        "Subjects Where You Want Them - SD 2": subjects(),
        "Sets of One Subject - SDXL": sets(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="research/cards.py", description=__doc__.splitlines()[0])
    parser.add_argument("--painted", type=Path, metavar="FOLDER", help="results of dev/demo.py --subjects")
    parser.add_argument("--sets", type=Path, metavar="SHARDS", help="results of research/synthesize.py --demo")
    options = parser.parse_args()
    for given, name, drawn in (
        (options.painted, "Demo - Toys Where You Want Them", painted), (options.sets, "Demo - Sets of One Toy", painted_sets),
    ):  # fmt: skip
        if given:
            drawn(given).save(pack.ROOT / "workflows" / f"{name}.jpg", quality=90, optimize=True)
    for name, whole in cards().items():
        small = whole.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        small.save(pack.ROOT / "workflows" / f"{name}.jpg", quality=85, optimize=True)


if __name__ == "__main__":
    main()
