"""onnxruntime, which analyses faces: which build is installed, and whether its GPU finds what its CPU finds."""

import importlib.metadata
import importlib.util
import tempfile
from pathlib import Path

from . import agreement

PACKAGES = ("onnxruntime", "onnxruntime-gpu")
GPU = "CUDAExecutionProvider"
BOUND = 0.01
"""Convolutions on a GPU may use shorter floats."""


def onnx():
    """What is installed, then faces in a synthetic pack's picture with the providers of `auto` against the CPU."""
    for package in PACKAGES:
        yield {"name": package, "value": version(package)}
    if not importlib.util.find_spec("onnxruntime"):
        return
    import onnxruntime

    providers = onnxruntime.get_available_providers()
    yield {"name": "providers", "value": ", ".join(providers)}
    yield {"name": "GPU build", "value": "present" if GPU in providers else "absent"}
    missing = [package for package in ("insightface", "onnx") if not importlib.util.find_spec(package)]
    if missing:
        yield {"name": "faces", "value": f"not looked for: {' and '.join(missing)} absent"}
        return
    yield from faces()


def version(package):
    """The installed version, or "absent"."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def faces():
    """The providers that the recogniser got, and how far its embedding is from that of the CPU."""
    import folder_paths
    from same_subject.nodes.identity.host import face_analysis
    from same_subject.tests.tiny import face_models

    picture, other = (face_models.picture((row, 4, 0.75, 1.0)) for row in (4, 12))
    with tempfile.TemporaryDirectory() as folder:
        face_models.save_pack(Path(folder) / "models" / "antelopev2")
        folder_paths.folder_names_and_paths["insightface"] = ([folder], set())
        auto, cpu = (face_analysis.load(face_analysis.ANY, device) for device in (face_analysis.AUTO, face_analysis.CPU))
        (made,), (expected,), (changed,) = auto.faces(picture), cpu.faces(picture), cpu.faces(other)
    yield {"name": "providers of faces", "value": ", ".join(auto.app.models["recognition"].session.get_providers())}
    yield {
        "name": "embedding of a face",
        "difference": agreement.difference(made.embedding, expected.embedding),
        "bound": BOUND,
        "effect": agreement.difference(changed.embedding, expected.embedding),
    }
