"""The files of a scene's tools: which there are, what is missing, loading them. What the node `Load Scene Tools` does."""

from __future__ import annotations

from collections.abc import Callable

from ...concepts.host import files as concept_files
from ...concepts.host import grounding, segmenting
from ...host import inputs, weights
from ...identity.host import face_analysis as analysis
from ...identity.host import files as identity_files
from ..concept import SceneTools

NODE = "Load Scene Tools"
NONE = identity_files.NO_CONTROL
"""A tool that is left out, in every combo."""
LOADERS = {
    "detector": ("Load Grounding DINO", "file"),
    "segmenter": ("Load Segment Anything", "file"),
    "adapter": ("Load InstantID", "adapter"),
    "face_analysis": ("Load Face Analysis", "files"),
    "control_net": ("Load InstantID", "control_net"),
}
"""For each tool the node that loads it alone, and that node's input."""


def detectors() -> list[str]:
    return [*concept_files.detector_names(), NONE]


def segmenters() -> list[str]:
    return [*concept_files.segmenter_names(), NONE]


def adapters() -> list[str]:
    return [*identity_files.adapter_names(), NONE]


def problems(chosen: dict[str, str | None]) -> str | None:
    """All that keeps the tools from loading, in one message: packages and files; None if nothing does.

    chosen: by tool, as in LOADERS. A tool that is `none`, or None (another node will give it), lacks nothing.
    """
    checks: dict[str, Callable[[str], object]] = {
        "detector": lambda name: concept_files.check(concept_files.DETECTORS, name),
        "segmenter": _check_segmenter,
        "adapter": identity_files.adapter_path,
        "face_analysis": _check_face_analysis,
        "control_net": identity_files.control_path,
    }
    said = []
    for tool, name in chosen.items():
        if name in (None, NONE):
            continue
        try:
            if problem := inputs.name_problem(NODE, tool, name):
                raise ValueError(problem)
            checks[tool](name)
        except ValueError as problem:
            said.append(_said(tool, str(problem)))
    return " ".join(said) or None


def load(detector: str, segmenter: str, adapter: str, face_analysis: str, control_net: str, device: str) -> SceneTools:
    """The tools of these names. face_analysis: EXACT or ANY of `identity.host.face_analysis`, device: AUTO or CPU of it.

    Any can be `none`. Raises ValueError, which names the tool, where a file or a package is missing or cannot be used.
    """
    loaders: dict[str, tuple[str, Callable[[str], object]]] = {
        "detector": (detector, lambda name: grounding.load(concept_files.find(concept_files.DETECTORS, name))),
        "segmenter": (segmenter, lambda name: segmenting.load(concept_files.find(concept_files.SEGMENTERS, name))),
        "adapter": (adapter, lambda name: identity_files.load_adapter(identity_files.adapter_path(name))),
        "face_analysis": (face_analysis, lambda name: analysis.load(name, device)),
        "control_net": (control_net, lambda name: identity_files.load_control(identity_files.control_path(name))),
    }
    loaded = {}
    for tool, (name, read) in loaders.items():
        try:
            loaded[tool] = None if name == NONE else read(name)
        except (ValueError, RuntimeError) as problem:
            if not str(problem).startswith(LOADERS[tool][0]):
                raise
            raise ValueError(_said(tool, str(problem))) from problem
    return SceneTools(**loaded)


def stamps(detector: str, segmenter: str, adapter: str, face_analysis: str, control_net: str) -> tuple:
    """Changes when any of the files does. Raises ValueError where one is not there."""
    parts: list = [(detector, segmenter, adapter, face_analysis, control_net)]
    for category, name in ((concept_files.DETECTORS, detector), (concept_files.SEGMENTERS, segmenter)):
        parts += [] if name == NONE else [concept_files.fingerprint(category, name)]
    for find, name in ((identity_files.adapter_path, adapter), (identity_files.control_path, control_net)):
        parts += [] if name == NONE else [weights.stamps(find(name))]
    if face_analysis != NONE:
        folder = analysis.find_pack()
        parts.append(weights.stamps(*(folder / name for name in analysis.hashes())))
    return tuple(parts)


def _check_segmenter(name: str) -> None:
    missing = segmenting.missing_package()
    try:
        concept_files.check(concept_files.SEGMENTERS, name)
    except ValueError as problem:
        raise ValueError(" ".join(filter(None, (missing, str(problem))))) from problem
    if missing:
        raise ValueError(missing)


def _check_face_analysis(files: str) -> None:
    known = inputs.check_choice(LOADERS["face_analysis"][0], "files", files, (analysis.EXACT, analysis.ANY))
    problem = analysis.problem() if known is True else known
    if problem:
        raise ValueError(problem)


def _said(tool: str, problem: str) -> str:
    """What a tool's own loader says, said by this node."""
    loader, name = LOADERS[tool]
    said = problem.replace(f"{loader}: ", f"{NODE}: ").replace(f"`{name}`", f"`{tool}`")
    return said.replace("leave `segmenter` of Concept Masks empty", f"set `segmenter` to `{NONE}`")
