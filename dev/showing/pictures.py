"""Pictures: checking those that are given, keeping those that are made, and a sheet of both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from same_subject.dev.client import Client, Graph
from same_subject.dev.host import SetupError

if TYPE_CHECKING:
    from PIL import Image, ImageFont


def check_pictures(paths: Sequence[Path]) -> None:
    """Refuse files that are no pictures, before the server starts."""
    from PIL import Image

    for path in paths:
        try:
            with Image.open(path) as picture:
                picture.load()
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise SetupError(f"--reference {path} cannot be read as a picture: {error}") from None


def save_pictures(live: Client, graph: Graph, outputs: dict[str, Any], folder: Path) -> list[Path]:
    """Write the pictures of the graph's SaveImage node; returns their paths."""
    saved = [outputs[node_id]["images"] for node_id in outputs if graph[node_id]["class_type"] == "SaveImage"]
    paths = []
    for number, entry in enumerate((entry for images in saved for entry in images), start=1):
        paths.append(folder / f"picture_{number}.png")
        paths[-1].write_bytes(live.picture(entry))
    if not paths:
        raise SetupError("The graph gave no picture.")
    return paths


def draw_contact_sheet(
    path: Path,
    rows: Sequence[tuple[str, Sequence[Path], Sequence[str]]],
    most: int = 4,
    cell: int = 256,
    gap: int = 16,
    text: int = 16,
) -> None:
    """Draw rows of (title, picture paths, captions) as one picture, at ``most`` so many pictures a line."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(size=text)
    columns = min(most, max(len(pictures) for _, pictures, _ in rows))
    width = gap + columns * (cell + gap)
    placed, y = [], gap
    for title, pictures, captions in rows:
        placed.append(("text", gap, y, title, "black"))
        y += int(text * 1.6)
        for start in range(0, len(pictures), columns):
            lines = 0
            for index in range(start, min(start + columns, len(pictures))):
                x = gap + (index - start) * (cell + gap)
                placed.append(("picture", x, y, pictures[index], None))
                caption = wrap(captions[index], font, cell)
                placed.extend(
                    ("text", x, y + cell + 4 + line * int(text * 1.25), words, "dimgrey") for line, words in enumerate(caption)
                )
                lines = max(lines, len(caption))
            y += cell + 4 + lines * int(text * 1.25) + gap
    sheet = Image.new("RGB", (width, y), "white")
    pen = ImageDraw.Draw(sheet)
    for kind, x, top, what, colour in placed:
        if kind == "text":
            pen.text((x, top), what, fill=colour, font=font)
        else:
            picture = fit(what, cell)
            sheet.paste(picture, (x + (cell - picture.width) // 2, top + (cell - picture.height) // 2))
    sheet.save(path)


def fit(path: Path, cell: int) -> Image.Image:
    """A picture on white, scaled to fit a square cell; small ones in whole steps, so that they stay crisp."""
    from PIL import Image, ImageOps

    with Image.open(path) as opened:
        picture = ImageOps.exif_transpose(opened).convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    picture = Image.alpha_composite(white, picture).convert("RGB")
    longest = max(picture.size)
    if longest <= cell:
        factor = cell // longest
        return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    return ImageOps.contain(picture, (cell, cell), Image.Resampling.LANCZOS)


def wrap(caption: str, font: ImageFont.FreeTypeFont, width: int, most: int = 4) -> list[str]:
    """A caption as lines no wider than `width` pixels, at most `most` of them."""
    lines = []
    for word in caption.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines if len(lines) <= most else [*lines[: most - 1], f"{lines[most - 1]} …"]
