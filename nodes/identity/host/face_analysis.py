"""Finding and recognising faces with the package insightface and the models `antelopev2`.

The package is optional: it is imported where it is needed, and a missing one is named with how to install it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.utils
import folder_paths
import torch

from ...host import catalogue, model_files
from ..faces import Face

FOLDER = "insightface"
PACK = "antelopev2"
ARCHIVE = f"{PACK}.zip"
FILES_FOLDER = f"models/{FOLDER}/models/{PACK}"
EXACT, ANY = "as published", "any"
AUTO, CPU = "auto", "cpu"
DETECTION_SIZES = (640, 576, 512, 448, 384, 320, 256)
"""Sides in pixels of the square that a picture is fitted into, in the order of trying: the next only where one shows no face."""
LEAST_SCORE = 0.5
BOTH_RUNTIMES = (
    "The packages onnxruntime and onnxruntime-gpu are both installed, and each overwrites parts of the other: faces are then "
    "analysed on the CPU, or not at all. Run `pip uninstall onnxruntime onnxruntime-gpu`, then `pip install onnxruntime-gpu` "
    "(NVIDIA) or `pip install onnxruntime` (no GPU)"
)

HOW_TO_INSTALL = (
    "Run `pip install insightface==2.1` and, for an NVIDIA GPU, `pip uninstall onnxruntime` and `pip install onnxruntime-gpu`, "
    "with the Python of ComfyUI"
)


@dataclass(frozen=True, eq=False)
class FaceAnalysis:
    """The detector and the recogniser of insightface, ready to use."""

    app: Any

    def faces(self, picture: torch.Tensor) -> list[Face]:
        """All faces of a picture [H, W, 3 or 4] in 0..1, the surest first. Embeddings are raw, as InstantID needs them."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        height, width = picture.shape[:2]
        rgb = (picture[..., :3].float().clamp(0, 1) * 255).round().to(torch.uint8).cpu()
        found = self._detected(rgb.flip(-1).contiguous().numpy())
        faces = [
            Face(
                torch.as_tensor(one.bbox).float(),
                torch.as_tensor(one.kps).float(),
                torch.as_tensor(one.embedding).float(),
                float(one.det_score),
                width,
                height,
            )
            for one in found
        ]
        return sorted(faces, key=lambda face: -face.score)

    def _detected(self, bgr) -> list:
        """insightface's faces at the first of DETECTION_SIZES that shows any: one that fills the picture needs to be smaller."""
        found, detector = self.app.get(bgr), self.app.det_model
        if found or getattr(detector, "static_input_size", None) is not None:
            return found
        before = {name: getattr(detector, name) for name in ("input_size", "input_sizes") if hasattr(detector, name)}
        try:
            for side in DETECTION_SIZES[1:]:
                comfy.model_management.throw_exception_if_processing_interrupted()
                detector.input_size = (side, side)
                if "input_sizes" in before:  # insightface 2 reads this one
                    detector.input_sizes = [(side, side)]
                if found := self.app.get(bgr):
                    logging.info("Same Subject: a face was found with the picture fitted into %s pixels.", side)
                    return found
        finally:
            for name, value in before.items():
                setattr(detector, name, value)
        return []


def register() -> None:
    """Tell the host about `models/insightface`."""
    model_files.register(FOLDER, ())


def load(files: str, device: str) -> FaceAnalysis:
    """The pack in `models/insightface/models/antelopev2`. files: EXACT or ANY; device: AUTO or CPU.

    Raises if the package or a file is missing, or, with EXACT, if a file is not the published one. Never downloads.
    """
    folder = find_pack()
    if files == EXACT:
        check_hashes(folder)
    insightface, providers = _package(device)
    try:
        app = insightface.app.FaceAnalysis(
            name=str(folder), root=str(folder), allowed_modules=["detection", "recognition"], providers=providers
        )
    except Exception as problem:
        raise ValueError(
            f"Load Face Analysis: the files in {folder} cannot be loaded: {type(problem).__name__}: {problem}. Get "
            f"{source()} and unpack its five files there."
        ) from problem
    if "recognition" not in app.models:
        raise ValueError(
            f"Load Face Analysis: {folder} holds no face recogniser. Get {source()} and unpack its five files there."
        )
    app.prepare(ctx_id=0, det_thresh=LEAST_SCORE, det_size=(DETECTION_SIZES[0],) * 2)
    return FaceAnalysis(app)


def source() -> str:
    """Where the pack is published."""
    return catalogue.listed(ARCHIVE, FILES_FOLDER)["url"]


def hashes() -> dict[str, str]:
    """The five files of the pack and their sha256."""
    return {name: catalogue.listed(name, FILES_FOLDER)["sha256"] for name in catalogue.files(FILES_FOLDER) if name != ARCHIVE}


def problem() -> str | None:
    """What is missing for `load`, in one message: a package, files. None if nothing is. Imports no package."""
    absent = [name for name in ("insightface", "onnxruntime") if not _can_be_imported(name)]
    said = [f"Load Face Analysis: the package {absent[0]} is needed, but is not installed. {HOW_TO_INSTALL}."] if absent else []
    try:
        find_pack()
    except ValueError as missing:
        said.append(str(missing))
    return " ".join(said) or None


def find_pack() -> Path:
    """The folder with the pack's five files; one nested in a folder of its own name, as unpacking makes it, is fine."""
    folders = [Path(base) / "models" / PACK for base in folder_paths.get_folder_paths(FOLDER)]
    for folder in [nested for outer in folders for nested in (outer, outer / PACK)]:
        if all((folder / name).is_file() for name in hashes()):
            return folder
    looked = folders[0]
    present = [name for name in hashes() if (looked / name).is_file() or (looked / PACK / name).is_file()]
    missing = ", ".join(name for name in hashes() if name not in present)
    raise ValueError(
        f"Load Face Analysis: {looked} lacks {missing}. Get {source()} and unpack its five files there; nothing is downloaded "
        "for you. These models are for non-commercial research only."
    )


def check_hashes(folder: Path) -> None:
    """Raise if a file of the pack is not the published one."""
    progress = comfy.utils.ProgressBar(len(hashes()))
    for number, (name, published) in enumerate(hashes().items()):
        comfy.model_management.throw_exception_if_processing_interrupted()
        with open(folder / name, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(file)
        if found != published:
            size = (folder / name).stat().st_size
            raise ValueError(
                f"Load Face Analysis: {folder / name} ({size} bytes) is not the published file: its sha256 is {found}, needs "
                f"{published}. Get {source()} again, or set `files` to `{ANY}` if you trust this one."
            )
        progress.update_absolute(number + 1)


def _digest(file) -> str:
    """sha256 before Python 3.11."""
    digest = hashlib.sha256()
    while part := file.read(1 << 20):
        digest.update(part)
    return digest.hexdigest()


def _package(device: str):
    """(insightface, the execution providers for its models); raises with what to install."""
    both = _installed("onnxruntime") and _installed("onnxruntime-gpu")
    try:
        import insightface.app
        import onnxruntime

        available = onnxruntime.get_available_providers()
    except (ImportError, AttributeError) as problem:
        remedy = BOTH_RUNTIMES if both else HOW_TO_INSTALL
        raise ValueError(
            f"Load Face Analysis: the package insightface is needed, but cannot be imported: {problem}. {remedy}."
        ) from problem
    if both and "CUDAExecutionProvider" not in available and device == AUTO:
        logging.warning("Same Subject: %s.", BOTH_RUNTIMES)
    wanted = ["CUDAExecutionProvider"] if device == AUTO else []
    return insightface, [name for name in (*wanted, "CPUExecutionProvider") if name in available]


def _can_be_imported(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):  # ValueError: a module that is None, or lacks its specification
        return False


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
