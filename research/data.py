"""Look at training data: how many sets, of what sizes, with what captions, what is left out and why; and a sheet of pictures.

    python3 research/data.py FOLDER
    python3 research/data.py stacked:FOLDER videos:CLIPS --output sheet.jpg
    python3 research/data.py demo:20 demo-clips:20 joined:demo:20 --output sheet.jpg

A source is a folder or file, with its kind before it where that is not plain (docs/data.md has all kinds). Every picture is
read as training does, so what is damaged shows here.
"""

from __future__ import annotations

if not __package__:
    from pack import load

    load()

import argparse
import statistics
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from same_subject.dev import host as hosts
from same_subject.dev.setup.errors import SetupError

if TYPE_CHECKING:
    from PIL import Image
    from same_subject.nodes.data.examples import PictureSet
    from same_subject.nodes.data.sources import Source

REPORTED = 20.0
"""Seconds between two lines while sets are read."""
NAMED = 3
"""Examples of what is left out for one reason."""
LONG = 50
"""Words that fill about one chunk of CLIP's 75 tokens."""
SIDE, LINE, ACROSS, SHOWN = 160, 30, 4, 24
"""Pixels of a picture on the sheet, of the text under it, pictures a row, and sets of all sources."""


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="research/data.py", description=__doc__.splitlines()[0])
    parser.add_argument("sources", metavar="SOURCE", nargs="+", help="a folder or file, or kind:path")
    parser.add_argument("--output", type=Path, help="a picture file for a sheet of some sets")
    parser.add_argument("--sets", type=int, default=0, help="read so many sets of each source, drawn at random; default: all")
    parser.add_argument("--least-side", type=int, default=0, help="leave out pictures whose shorter side has fewer pixels")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn (%(default)s)")
    parser.add_argument("--comfyui", help="folder of a ComfyUI to use; default: found or installed")
    options = parser.parse_args(arguments)
    if options.sets < 0 or options.least_side < 0:
        parser.error("--sets and --least-side must be at least 0")
    if options.output and (options.output.suffix.lower() not in (".jpg", ".png") or not options.output.parent.is_dir()):
        parser.error(f"--output is {options.output}, but a .jpg or .png in a folder that is there is needed")
    hosts.enter(options.comfyui, __file__, arguments, lambda host: hosts.data_tools(host) if parquet(options.sources) else None)
    with hosts.plain_errors():
        try:
            return look(options)
        except ValueError as problem:
            raise SetupError(str(problem)) from problem


def parquet(sources: list[str]) -> bool:
    """Whether one of them needs pyarrow."""
    paths = [Path(source.rpartition("subjects200k:")[2]) for source in sources]
    return any(path.suffix == ".parquet" or (path.is_dir() and next(path.rglob("*.parquet"), None)) for path in paths)


def look(options: argparse.Namespace) -> int:
    """Print what each source holds; 1 where one holds no set."""
    from same_subject.nodes.data.opening import open_source
    from same_subject.research.drawn_sets import KINDS

    empty, shown, each = 0, [], max(1, SHOWN // len(options.sources))
    for spec in options.sources:
        source = open_source(spec, least_side=options.least_side, more=KINDS)
        found, kept = Found(), []
        for number, one in enumerate(told(source.sets(options.seed, 0)), 1):
            found.add(one)
            if options.output and len(kept) < each:
                kept.append(small(one))
            if number == options.sets:
                break
        print(report(source, found, options.sets))
        empty += not found.sets
        shown += kept
    if options.output and shown:
        sheet(shown).save(options.output, quality=90)
        print(f"\n{options.output} shows {len(shown)} sets.")
    return int(empty > 0)


@dataclass
class Found:
    """Counts over sets. sizes: pictures a set. pixels: (width, height) of pictures. words: of captions."""

    sets: int = 0
    sizes: Counter[int] = field(default_factory=Counter)
    pixels: Counter[tuple[int, int]] = field(default_factory=Counter)
    words: Counter[int] = field(default_factory=Counter)
    shared: int = 0

    def add(self, one: PictureSet) -> None:
        """Count a set."""
        self.sets += 1
        self.sizes[len(one)] += 1
        self.pixels.update(picture.size for picture in one.pictures)
        self.words.update(len(caption.split()) for caption in one.captions)
        self.shared += len(one) > 1 and len(set(one.captions)) == 1


def told(sets: Iterator[PictureSet]) -> Iterator[PictureSet]:
    """The same sets; now and then a line says how far they are."""
    last = time.monotonic()
    for number, one in enumerate(sets, 1):
        if time.monotonic() - last > REPORTED:
            last = time.monotonic()
            print(f"{number} sets", flush=True)
        yield one


def report(source: Source, found: Found, limit: int) -> str:
    """What a source holds, as text."""
    lines = [source.name, f"  sets          {found.sets}" + " (as many as were asked for)" * (found.sets == limit > 0)]
    if found.sets:
        pictures = sum(found.pixels.values())
        sizes = ", ".join(f"{count} with {size}" for size, count in sorted(found.sizes.items()))
        lines.append(f"  set sizes     {sizes} pictures: {pictures} in all")
        shorter = Counter()
        for size, count in found.pixels.items():
            shorter[min(size)] += count
        common = ", ".join(f"{width} x {height} ({count})" for (width, height), count in found.pixels.most_common(3))
        others = f" and {len(found.pixels) - 3} other sizes" * (len(found.pixels) > 3)
        lines.append(f"  pictures      {common}{others}; shorter sides {spread(shorter)}")
        lines.append(f"  captions      {spread(found.words)} words" + captions(found, pictures))
    for reason, names in sorted(source.skipped.items(), key=lambda item: -len(item[1])):
        more = f" and {len(names) - NAMED} more" * (len(names) > NAMED)
        lines.append(f"  left out      {len(names)}: {reason} ({'; '.join(names[:NAMED])}{more})")
    if not found.sets:
        lines.append("  It holds nothing to train on.")
    return "\n".join(lines).encode("utf-8", "backslashreplace").decode()


def captions(found: Found, pictures: int) -> str:
    """What is peculiar about captions."""
    long = sum(count for words, count in found.words.items() if words > LONG)
    said = f", {found.words[0]} of {pictures} pictures have none" * bool(found.words[0])
    said += f", {long} longer than {LONG}" * bool(long)
    return said + f", one for the whole set in {found.shared} sets" * bool(found.shared)


def spread(counts: Counter[int]) -> str:
    """The smallest, the middle and the greatest of some numbers."""
    values = list(counts.elements())
    return f"{min(values)} to {max(values)}, in the middle {statistics.median_low(values)}"


def small(one: PictureSet) -> list[tuple[Image.Image, str]]:
    """A set as the sheet shows it, so that no more of it is kept."""
    from PIL import ImageOps

    shown = zip(one.pictures[:ACROSS], one.captions, strict=False)
    return [(ImageOps.contain(picture, (SIDE, SIDE)), caption) for picture, caption in shown]


def sheet(sets: list[list[tuple[Image.Image, str]]]) -> Image.Image:
    """A contact sheet: a row for each set, its pictures with their captions below."""
    from PIL import Image, ImageDraw

    made = Image.new("RGB", (ACROSS * SIDE, len(sets) * (SIDE + LINE)), "white")
    write = ImageDraw.Draw(made)
    for row, pictures in enumerate(sets):
        for column, (picture, caption) in enumerate(pictures):
            left, top = column * SIDE, row * (SIDE + LINE)
            made.paste(picture, (left + (SIDE - picture.width) // 2, top + (SIDE - picture.height) // 2))
            width = int(SIDE / write.textlength("n")) - 1
            for line, words in enumerate(textwrap.wrap(caption, width)[:2]):
                write.text((left + 2, top + SIDE + 14 * line), words, fill="black")
    return made


if __name__ == "__main__":
    raise SystemExit(main())
