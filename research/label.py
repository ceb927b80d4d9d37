"""Label pictures for training on subjects: captions, nouns, boxes, masks, filters (Subject-Diffusion, section 3.1).

    python3 research/label.py FOLDER --output SHARDS --detector DINO --segmenter SAM     captions beside the pictures
    python3 research/label.py FOLDER --output SHARDS --detector DINO --segmenter SAM --blip2 BLIP2    captions written
    python3 research/label.py --demo                  precision and recall on the demo world, whose truth is known

FOLDER holds pictures (with a .txt of the same name each) or WebDataset shards, or is a .parquet that lists local files.
Started again, it goes on where it was, however it ended. It ends with the figures of table 5 and figure 6 of the paper.
"""

from __future__ import annotations

if not __package__:
    from pack import load

    load()

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from same_subject.dev import host as hosts
from same_subject.dev import pack
from same_subject.dev.setup.errors import SetupError

DEMO = pack.ROOT / "demo" / "scenes.safetensors"
WITH, WITHOUT = "all filters", "without filter 6"
BESIDE = 6 * 2**30
"""Bytes that a worker may need beside its weights, Segment Anything's largest."""
REPORTED = 20.0
"""Seconds between two lines of a run."""


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="research/label.py", description=__doc__.splitlines()[0])
    parser.add_argument("source", metavar="FOLDER", type=Path, nargs="?", help="pictures, shards, or a .parquet of paths")
    parser.add_argument("--output", type=Path, help="folder for the shards; with --demo a JSON file for the rows")
    parser.add_argument("--detector", type=Path, help="Grounding DINO: a .pth, or a published folder; or demo/scenes.safetensors")
    parser.add_argument("--segmenter", type=Path, help="Segment Anything: a .pth")
    parser.add_argument("--tagger", default="en_core_web_sm", help="spaCy pipeline for nouns, a package or folder (%(default)s)")
    parser.add_argument("--blip2", type=Path, help="folder of a BLIP-2, which writes captions where none are given")
    parser.add_argument("--recaption", action="store_true", help="let BLIP-2 write all captions, as the paper did")
    parser.add_argument("--picture-column", default="path", help="in a .parquet (%(default)s)")
    parser.add_argument("--caption-column", default="caption", help="in a .parquet (%(default)s)")
    parser.add_argument("--least-side", type=int, default=0, help="a picture's shorter side must be greater (paper: 1024)")
    parser.add_argument("--without", default="", metavar="1,6", help="filters to leave out, of 1 to 7")
    parser.add_argument("--pictures-a-shard", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=0, help="processes, or actors of Ray; default: a GPU each, or what fits")
    parser.add_argument("--ray", metavar="ADDRESS", help="run on this Ray cluster (host:port, auto, or local)")
    parser.add_argument("--demo", action="store_true", help="draw pictures of the demo world, label them, compare with the truth")
    parser.add_argument("--pictures", type=int, default=400, help="of --demo (%(default)s)")
    parser.add_argument("--comfyui", help="folder of a ComfyUI to use; default: found or installed")
    options = parser.parse_args(arguments)
    try:
        off = tuple(sorted({int(number) for number in options.without.split(",") if number.strip()}))
    except ValueError:
        off = (0,)
    if not set(off) <= set(range(1, 8)):
        parser.error(f"--without is {options.without!r}, but takes numbers from 1 to 7, as in 6 or 1,6")
    if options.workers < 0 or min(options.pictures_a_shard, options.pictures) < 1 or options.least_side < 0:
        parser.error("--pictures-a-shard and --pictures must be at least 1, --workers and --least-side at least 0")
    if not options.demo:
        _check(parser, options)
    elif options.source:
        parser.error("--demo draws its own pictures: leave out FOLDER, or --demo")
    host = hosts.enter(options.comfyui, __file__, arguments, hosts.label_tools)
    with hosts.plain_errors():
        if options.demo:
            return demo(options, str(host.root))
        settings = {
            "detector": str(options.detector.resolve()),
            "segmenter": str(options.segmenter.resolve()) if options.segmenter else "",
            "tagger": str(Path(options.tagger).resolve()) if Path(options.tagger).is_dir() else options.tagger,
            "blip2": str(options.blip2.resolve()) if options.blip2 else "",
            "recaption": options.recaption, "least_side": options.least_side, "off": off,
        }  # fmt: skip
        print(label(options.source, options.output, settings, options, str(host.root)))
    return 0


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Leave with one sentence where options are missing, do not fit together, or name what is not there."""
    for name in ("source", "output", "detector"):
        if getattr(options, name) is None:
            parser.error(f"{'FOLDER' if name == 'source' else '--' + name} is missing; or give --demo")
    if options.segmenter is None and options.detector.suffix != ".safetensors":
        parser.error("--segmenter is missing: entities are cut out with Segment Anything")
    if options.recaption and not options.blip2:
        parser.error("--recaption needs --blip2")
    for path in (options.source, options.detector, options.segmenter, options.blip2):
        if path is not None and not path.exists():
            parser.error(f"{path} is not there")
    inside = os.path.commonpath((options.source.resolve(), options.output.resolve())) == str(options.source.resolve())
    if options.source.is_dir() and inside:
        parser.error(
            f"--output {options.output} lies in {options.source}: its shards would be labelled again. Give another folder"
        )


def label(source: Path, output: Path, settings: dict, options: argparse.Namespace, comfyui: str) -> str:
    """Label what is not done yet of a source, and return the report."""
    from same_subject.nodes.data.whole_files import whole
    from same_subject.research.labels import journal, running, sources

    columns = sources.Columns(options.picture_column, options.caption_column)
    with journal.Journal(output, settings, options.pictures_a_shard) as kept:
        before, twice = len(kept.done), 0

        def left() -> Iterator[sources.Item]:
            nonlocal twice
            met: set[str] = set()
            for item in sources.items(source, columns):
                twice += item.key in met
                if item.key not in met and item.key not in kept.done:
                    yield item
                met.add(item.key)

        kept.close_full()
        weights = [Path(settings[name]) for name in ("detector", "segmenter", "blip2") if settings[name]]
        place = (str(pack.ROOT), comfyui, settings)
        if options.ray:
            records = running.on_ray(left(), *place, options.ray, options.workers)
        else:
            beside = BESIDE if settings["segmenter"] else BESIDE // 12
            records = running.locally(left(), *place, options.workers or running.workers_that_fit(weights, beside))
        for record in _told(records):
            kept.add(record)
        kept.close()
        if not kept.done:
            raise SetupError(f"label: {source} holds no pictures (.jpg, .png, .webp), shards (.tar) or lists (.parquet).")
        said = [f"{before} pictures were done before, {len(kept.done) - before} now" + f", {twice} named twice" * bool(twice), ""]
        with whole(output / "statistics.json") as part:
            part.write_text(json.dumps(kept.statistics.as_dict(), indent=1), encoding="utf-8")
        return "\n".join((*said, kept.statistics.text()))


def _told(records: Iterable[dict]) -> Iterator[dict]:
    """The same records; now and then a line says how far they are."""
    started = told = None
    for number, record in enumerate(records):
        yield record
        if started is None or told is None:
            started = told = time.monotonic()  # before it models were loaded
        elif time.monotonic() - told > REPORTED:
            told = time.monotonic()
            print(f"{number + 1} pictures, {number / (told - started):.1f} a second", flush=True)


def demo(options: argparse.Namespace, comfyui: str) -> int:
    """Print how right the labels of drawn pictures are, with all filters and without filter 6."""
    from same_subject.research.labels import demo as toys
    from same_subject.research.labels import shards, toy_words

    columns, report = {}, ""
    with tempfile.TemporaryDirectory(prefix="same-subject-labels-") as name:
        folder = Path(name)
        (folder / "pictures").mkdir()
        truth = toys.draw(folder / "pictures", options.pictures)
        tagger = toy_words.save(folder / "tagger")
        options.workers = options.workers or 2
        for title, off in ((WITHOUT, (6,)), (WITH, ())):
            settings = {"detector": str(DEMO), "segmenter": "", "tagger": str(tagger), "blip2": "", "off": off}
            output = folder / f"shards-{len(off)}"
            report = label(folder / "pictures", output, settings, options, comfyui)
            columns[title] = toys.scored(shards.examples(output), truth)
    print(report, end="\n\n")
    print(toys.table(columns))
    print("A star fills less than half of its box, so filter 6 drops every star, however well it is cut out.")
    if options.output:
        rows = [
            {"filters": title, "shape": shape, **asdict(score), "precision": score.precision, "recall": score.recall}
            for title, scores in columns.items()
            for shape, score in {**scores, "all": toys.together(scores)}.items()
        ]
        options.output.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
