"""What scores the pictures of a run, from the files that are there; what is not there is said, not guessed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from ...dev.setup.errors import SetupError
from ...nodes.demo.host import tools
from ...nodes.host import catalogue, model_files, weights
from ...nodes.identity.host import face_analysis
from ...nodes.metrics.host import encoders, files
from .plan import Case, Subject
from .scoring import DEMO, Cutter, FaceJudge, Judge


@dataclass(frozen=True)
class Scoring:
    """name: tells all that scores depend on. notes: sentences for the user. score: of a picture of a case; None is without
    networks. real: of a subject's real pictures, with each other; raises SetupError for one that cannot be compared with."""

    notes: list[str]
    name: str = ""
    score: Callable[[Case, torch.Tensor], dict] | None = None
    real: Callable[[Subject], dict] | None = None


def networks(folder: Path) -> tuple[encoders.ScoreModels, list[str]]:
    """CLIP and DINO of a folder, under their published names, as far as they are there."""
    found, notes = {}, []
    for kind, load in ((files.CLIP, encoders.load_clip), (files.DINO, encoders.load_dino)):
        path = folder / files.DEFAULTS[kind]
        if not path.is_dir():
            where = catalogue.where_to_get(f"{path.name}/{files.WEIGHTS[1]}", f"models/{files.FOLDER}")
            notes.append(
                f"Nothing is measured with {kind.upper()}: {path} is not there. {where} Its config.json belongs beside it."
            )
            continue
        try:
            found[kind] = load(path)
        except (ValueError, OSError) as problem:
            raise SetupError(f"dreambench: {problem}") from problem
    return encoders.ScoreModels(found.get(files.CLIP), found.get(files.DINO)), notes


def of_subjects(folder: Path, detector: Path | None, segmenter: Path | None, inputs_only: bool, several: bool = False) -> Scoring:
    """CLIP-T, CLIP-I and DINO, with a detector MCLIP-I and MDINO, too. several: cases have more than one subject."""
    models, notes = networks(folder)
    if models.clip is None and models.dino is None:
        return Scoring(notes)
    cut = Cutter(detector, segmenter) if detector else None
    if cut is None:
        notes.append("MCLIP-I and MDINO need --detector and --segmenter, which find subjects and cut them out.")
    judge = Judge(models, cut, inputs_only)
    used = [stamp for path in (detector, segmenter) if path for stamp in _stamps(path)] + ["an instance each"] * several
    return Scoring(
        notes, judge.id([str(stamp) for stamp in used]), lambda case, picture: asdict(judge(case, picture)),
        lambda subject: asdict(judge.of_real(subject)),
    )  # fmt: skip


def of_faces(folder: Path, faces: Path | None, demo: Path | None) -> Scoring:
    """Likeness of faces and CLIP-T. faces: a folder as insightface keeps it. demo: a file of the demo's tools in its place."""
    models, notes = networks(folder)
    if demo is not None and demo.suffix == DEMO:
        analysis = tools.load(demo)[1]
    elif faces is None:
        raise SetupError(
            "dreambench: --protocol faces needs --faces, a folder with models/antelopev2 in it. See Load Face Analysis."
        )
    else:
        model_files.register(face_analysis.FOLDER, set(), [str(faces.resolve())])
        try:
            analysis = face_analysis.load(face_analysis.EXACT, face_analysis.AUTO)
        except (ValueError, RuntimeError) as problem:
            raise SetupError(f"dreambench: {problem}") from problem
    told = ["faces", str(faces or demo), models.clip.stamp if models.clip else ""]
    judge = FaceJudge(analysis, models.clip)
    name = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:12]
    return Scoring([note for note in notes if "CLIP" in note], name, judge, judge.of_real)


def _stamps(path: Path) -> tuple:
    return weights.stamps(*sorted(part for part in (path.iterdir() if path.is_dir() else [path]) if part.is_file()))
