"""From a folder of subjects to the pictures that a protocol asks for, each with a name and a seed of its own."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from ...dev.setup.errors import SetupError
from ...dev.setup.unpacking import sha256_of
from ...nodes.data.captions import beside
from ...nodes.data.pictures import SUFFIXES, Damaged
from . import protocol

SINGLE, PAIRS, FACES = "single", "pairs", "faces"
WHERE = (
    "DreamBooth's data set (30 subjects, 158 pictures) is published under CC BY 4.0, some of its pictures under Unsplash's "
    "licence, which its references_and_licenses.txt names: `git clone https://github.com/google/dreambooth`, then give `--data "
    "dreambooth/dataset`. Any folder with a folder of pictures for each subject does as well."
)
LICENCE_OF_FACES = (
    "No set of faces may be handed on with this: give a folder with a folder of pictures for each person, of people who agreed, "
    "or from a set whose licence lets you, such as CelebA for research that is not commercial."
)


@dataclass(frozen=True)
class Subject:
    """pictures: at least one. word: its class, as prompts name it. live: which prompts it gets. captions: of the pictures."""

    name: str
    word: str
    live: bool
    pictures: tuple[Path, ...]
    captions: tuple[str, ...]


@dataclass(frozen=True)
class Case:
    """One picture to make. inputs: for each of its subjects which pictures it is shown by, positions from 0."""

    name: str
    subjects: tuple[Subject, ...]
    inputs: tuple[tuple[int, ...], ...]
    prompt: str
    seed: int


@dataclass(frozen=True)
class Wanted:
    """inputs: pictures that a subject is shown by. all_choices: each picture in turn, where that is 1. pictures: of a prompt.

    most_subjects, most_prompts: 0 is all of them. seed: of choices and pictures.
    """

    protocol: str = SINGLE
    inputs: int = 1
    all_choices: bool = True
    pictures: int = 4
    most_subjects: int = 0
    most_prompts: int = 0
    seed: int = 0


def read(folder: Path, people: bool = False) -> list[Subject]:
    """The subjects of a folder: a folder of pictures each, with the captions of text files beside them.

    Classes are those of DreamBooth's subjects, or of `subjects.json`: {"toy": {"class": "ball", "live": false}}; people are
    `person`. Raises SetupError with the folder, and where the published one is to be had.
    """
    folder = folder / "dataset" if (folder / "dataset").is_dir() else folder
    where = LICENCE_OF_FACES if people else WHERE
    if not folder.is_dir():
        raise SetupError(f"dreambench: {folder} is not there. {where}")
    said = _json(folder / "subjects.json")
    subjects = []
    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        pictures = tuple(sorted(path for path in place.iterdir() if path.suffix.lower() in SUFFIXES))
        if not pictures:
            continue
        word, live = _class(place.name, said.get(place.name), people)
        captions = tuple(_caption(path) or f"a {word}" for path in pictures)
        subjects.append(Subject(place.name, word, live, pictures, captions))
    if not subjects:
        raise SetupError(f"dreambench: {folder} holds no folder with pictures ({', '.join(SUFFIXES)}). {where}")
    return subjects


def _caption(picture: Path) -> str:
    try:
        return beside(picture)
    except (Damaged, OSError) as problem:
        raise SetupError(f"dreambench: the caption of {picture}: {problem}. Mend it, or take it out.") from problem


def _class(name: str, said, people: bool) -> tuple[str, bool]:
    if isinstance(said, dict) and isinstance(said.get("class"), str) and said["class"].strip():
        return said["class"].strip(), bool(said.get("live", people))
    if people:
        return "person", True
    word = protocol.CLASSES.get(name) or protocol.LIVE.get(name)
    if word is None:
        raise SetupError(
            f"dreambench: {name} is none of DreamBooth's subjects, so its class is not known, but prompts need it. Write "
            f'subjects.json into the folder: {{"{name}": {{"class": "toy", "live": false}}}}.'
        )
    return word, name in protocol.LIVE


def _json(path: Path) -> dict:
    if not path.is_file():
        return {}
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as problem:
        raise SetupError(f"dreambench: {path} cannot be read: {problem}. Mend it.") from problem
    if not isinstance(said, dict):
        raise SetupError(f'dreambench: {path} holds no object. It needs {{"a subject": {{"class": "toy", "live": false}}}}.')
    return said


def prompts_of(folder: Path) -> tuple[str, ...] | None:
    """The lines of `prompts.txt` in the folder, with {} for the class; None without one: those of DreamBooth."""
    path = folder / "prompts.txt"
    if not path.is_file():
        return None
    lines = tuple(filter(None, map(str.strip, path.read_text(encoding="utf-8").splitlines())))
    wrong = [number for number, line in enumerate(lines, 1) if line.count("{}") != 1]
    if not lines or wrong:
        what = f"line {wrong[0]} has not" if wrong else "it has no line with"
        raise SetupError(f"dreambench: {path}: {what} one {{}} in place of the class. Write lines such as `a {{}} in the snow`.")
    return lines


def fingerprint(subjects: Sequence[Subject], own: tuple[str, ...] | None) -> str:
    """Changes when pictures, captions, classes or prompts do, so that results of others are not taken for theirs."""
    told: list = [own]
    for one in subjects:
        hashes = [sha256_of(path) for path in one.pictures]
        told.append([one.name, one.word, one.live, one.captions, hashes])
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def cases(
    subjects: Sequence[Subject], wanted: Wanted, own: tuple[str, ...] | None = None, pairs: Path | None = None
) -> list[Case]:
    """All pictures of a protocol, in order. own: prompts in place of DreamBooth's. pairs: a file with lines such as `cat-dog`."""
    made = []
    for group in _groups(subjects, wanted, pairs):
        texts = own or protocol.prompts(group[0].live)
        texts = texts[: wanted.most_prompts or len(texts)]
        for inputs in _choices(group, wanted):
            shown = "_".join("+".join(str(place + 1) for place in each) for each in inputs)
            for number, text in enumerate(texts, 1):
                prompt = text.format(" and a ".join(one.word for one in group))
                for copy in range(1, wanted.pictures + 1):
                    name = f"{'-'.join(one.name for one in group)}/{shown}/{number:02}-{copy}"
                    made.append(Case(name, group, inputs, prompt, _number(wanted.seed, name)))
    return made


def _groups(subjects: Sequence[Subject], wanted: Wanted, pairs: Path | None) -> list[tuple[Subject, ...]]:
    """What is shown together: single subjects, or the pairs of Subject-Diffusion's table 8; of others all pairs of one kind."""
    if wanted.protocol != PAIRS:
        found: list[tuple[Subject, ...]] = [(one,) for one in subjects]
    else:
        known = {one.name: one for one in subjects}
        named = (
            [line.strip() for line in pairs.read_text(encoding="utf-8").splitlines() if line.strip()] if pairs else protocol.PAIRS
        )
        split = [line.split("-") for line in named]
        if not pairs and not all(one in known for names in split for one in names):
            found = [pair for pair in combinations(subjects, 2) if pair[0].live == pair[1].live]
        else:
            found = [tuple(_named(known, one) for one in names) for names in split]
        if not found:
            raise SetupError("dreambench: the two-subject protocol needs two subjects of one kind, live or not. Give more.")
    return found[: wanted.most_subjects or len(found)]


def _named(known: dict[str, Subject], name: str) -> Subject:
    if name not in known:
        raise SetupError(f"dreambench: a pair names {name}, but the subjects are {', '.join(known)}. Mend the file of pairs.")
    return known[name]


def _choices(group: tuple[Subject, ...], wanted: Wanted) -> Iterator[tuple[tuple[int, ...], ...]]:
    """Supplement 6: with one input each picture in turn; with more, or where one choice is asked for, some at random."""
    if len(group) == 1 and wanted.inputs == 1 and wanted.all_choices:
        yield from (((place,),) for place in range(len(group[0].pictures)))
        return
    yield tuple(
        tuple(sorted(_drawn(wanted.seed, one.name).sample(range(len(one.pictures)), min(wanted.inputs, len(one.pictures)))))
        for one in group
    )


def _drawn(seed: int, name: str) -> random.Random:
    return random.Random(_number(seed, name))


def _number(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:4], "big")
