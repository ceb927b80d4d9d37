"""Refusing a command line that cannot work before anything is installed or started; standard library only."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from same_subject.dev.host import SetupError
from same_subject.dev.showing import checkpoints, graphs

MOST_STEPS, MOST_SIZE, MOST_REFERENCES, MOST_PROMPTS = 10000, 8192, 16, 64
"""What KSampler, Joint Set and Reference Pictures take."""
BEGINNINGS = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"P1", b"P2", b"P3", b"P4", b"P5", b"P6")
"""First bytes of PNG, JPEG, GIF, BMP, TIFF and PNM files."""
LATER = {4: (b"ftyp",), 8: (b"WEBP",)}
"""The same further in, by position: AVIF and HEIF, WebP."""


def check(options: argparse.Namespace) -> None:
    """Raise `SetupError` for the first thing that cannot work."""
    chosen = [name for name in ("--scene", "--subjects") if getattr(options, name.removeprefix("--"))]
    others = options.reference or options.caption or options.prompt or options.checkpoint or options.size
    if chosen and (others or len(chosen) > 1):
        raise SetupError(
            f"{chosen[0]} is a demo of its own: of the other options it takes --seed, --steps, --output and --comfyui."
        )
    check_numbers(options)
    check_output(options.output)
    for picture in options.reference:
        check_picture(picture)
    if options.checkpoint:
        check_checkpoint(options)
    check_texts(options)


def check_numbers(options: argparse.Namespace) -> None:
    """Refuse numbers that no node takes."""
    if options.size is not None and (not 64 <= options.size <= MOST_SIZE or options.size % 8):
        raise SetupError(f"--size {options.size}: give a multiple of 8, from 64 to {MOST_SIZE}.")
    if options.seed is not None and not 0 <= options.seed < 2**64:
        raise SetupError(f"--seed {options.seed}: give a number from 0 to 2^64 - 1.")
    if options.steps is not None and not 1 <= options.steps <= MOST_STEPS:
        raise SetupError(f"--steps {options.steps}: give a number from 1 to {MOST_STEPS}.")


def check_output(folder: Path) -> None:
    """Refuse a folder that cannot be made or written to; leaves nothing behind."""
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        what = (
            "is a file, give a folder" if there == folder else f"cannot be made, because {there} is a file: give another folder"
        )
        raise SetupError(f"--output {folder} {what}.")
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise SetupError(f"--output {folder} cannot be written ({error.strerror}): give another folder.") from None


def check_picture(path: Path) -> None:
    """Refuse a file that is missing, or does not begin as pictures do."""
    if not path.is_file():
        raise SetupError(f"--reference {path}: there is no such file.")
    try:
        with open(path, "rb") as file:
            start = file.read(16)
    except OSError as error:
        raise SetupError(f"--reference {path} cannot be read ({error.strerror}).") from None
    if not start.startswith(BEGINNINGS) and not any(start[at:].startswith(signs) for at, signs in LATER.items()):
        raise SetupError(f"--reference {path} is no picture that ComfyUI loads: give a PNG, JPEG, WebP, GIF, BMP or TIFF file.")


def check_checkpoint(options: argparse.Namespace) -> None:
    """Refuse a checkpoint that is missing or of no known family, and one without references."""
    if not options.checkpoint.is_file():
        raise SetupError(f"--checkpoint {options.checkpoint}: there is no such file.")
    if options.checkpoint.suffix.lower() not in checkpoints.SUFFIXES:
        raise SetupError(
            f"--checkpoint {options.checkpoint}: ComfyUI lists no such file, give one that ends in "
            f"{', '.join(checkpoints.SUFFIXES)}."
        )
    if not options.reference:
        raise SetupError("--checkpoint needs --reference: give at least one picture of your subject.")
    checkpoints.family_of(options.checkpoint)


def check_texts(options: argparse.Namespace) -> None:
    """Refuse more pictures or texts than a set takes, and captions that do not fit their pictures."""
    if len(options.reference) > MOST_REFERENCES:
        raise SetupError(f"{len(options.reference)} references: give at most {MOST_REFERENCES}.")
    if len(options.prompt) > MOST_PROMPTS:
        raise SetupError(f"{len(options.prompt)} prompts: give at most {MOST_PROMPTS}.")
    if not all(prompt.strip() for prompt in options.prompt):
        raise SetupError("--prompt: a prompt is empty, say what to paint.")
    if len(options.caption) > 1:
        count = len(options.reference) or len(graphs.pictures_in(graphs.read_graph(graphs.DEMO)))
        if len(options.caption) != count:
            raise SetupError(f"{len(options.caption)} captions for {count} references: give one for all, or one each.")
