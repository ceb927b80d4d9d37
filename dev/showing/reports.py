"""What is written beside the pictures: the contact sheet and the report."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from same_subject.dev.client import Graph
from same_subject.dev.host import Host
from same_subject.dev.showing.graphs import DEMO_PICTURES, node_of
from same_subject.dev.showing.pictures import draw_contact_sheet
from same_subject.dev.showing.subjects import Showing


def write_results(
    host: Host,
    options: argparse.Namespace,
    graph: Graph,
    references: Sequence[Path],
    files: list[Path],
    started: float,
    run_seconds: float,
) -> None:
    """Write the contact sheet and the report; needs the torch of the host's Python."""
    from same_subject.nodes.joint.prompts import split_captions, split_prompts

    joint_set = node_of(graph, "JediJointSet")["inputs"]
    prompts = spread(split_prompts(joint_set["prompts"]), len(files))
    captions = split_captions(node_of(graph, "JediReferences")["inputs"].get("captions", ""), len(references))
    sheet = options.output / "contact_sheet.png"
    draw_contact_sheet(sheet, [("References", references, captions), ("Generated", files, prompts)])
    about = {
        "seed": node_of(graph, "KSampler")["inputs"]["seed"],
        "prompts": prompts,
        "negative": joint_set.get("negative", ""),
        "references": [str(path) for path in references],
        "captions": captions,
        "checkpoint": str(options.checkpoint) if options.checkpoint else "demo",
    }
    write_report(host, options, about, files, started, run_seconds)


def write_scene_results(
    host: Host, options: argparse.Namespace, graph: Graph, files: list[Path], started: float, run_seconds: float
) -> None:
    """The same for the demo of scenes."""
    phrases = [node["inputs"]["phrase"] for node in graph.values() if node["class_type"] == "SceneConcept"]
    prompts = [node["inputs"]["text"] for node in graph.values() if node["class_type"] == "CLIPTextEncode"]
    toys = sorted(DEMO_PICTURES.glob("toy_*.png"))
    sheet = options.output / "contact_sheet.png"
    captions = [*spread(phrases, len(toys)), *spread(prompts[:1], len(files))]
    draw_contact_sheet(sheet, [("Two subjects, and a scene with both", [*toys, *files], captions)])
    about = {"seed": node_of(graph, "PrimitiveInt")["inputs"]["value"], "prompts": prompts[:1], "phrases": phrases}
    write_report(host, options, about, files, started, run_seconds)


def write_subject_results(
    host: Host, options: argparse.Namespace, shown: Sequence[Showing], files: list[Path], started: float, run_seconds: float
) -> None:
    """The same for the demo of subjects; the last pictures are the strip."""
    one, two, *strip = [each.caption for each in shown]
    toys = sorted(DEMO_PICTURES.glob("toy_*.png"))
    words = node_of(shown[-1].graph, "SubjectPrompt")["inputs"]["text"]
    rows = [
        ("One picture of each subject; the first alone, and both, each in its box", [*toys, *files[:2]], ["", "", one, two]),
        (f"From the first one's picture to the words: {words}", files[2:], strip),
    ]
    draw_contact_sheet(options.output / "contact_sheet.png", rows, most=len(strip))
    about = {"seed": node_of(shown[0].graph, "KSampler")["inputs"]["seed"], "shown": [each.caption for each in shown]}
    write_report(host, options, about, files, started, run_seconds)


def write_report(
    host: Host, options: argparse.Namespace, about: dict[str, Any], files: list[Path], started: float, run_seconds: float
) -> None:
    """Write the report with what is said ``about`` the run, and say where everything is."""
    seconds = time.monotonic() - started
    report = {
        "host_version": host.version,
        "seconds": round(seconds, 2),
        "run_seconds": round(run_seconds, 2),
        **about,
        "files": [path.name for path in files],
    }
    (options.output / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    names = ", ".join(report["files"])
    print(f"Done in {seconds:.0f} s: {names}, contact_sheet.png and report.json are in {options.output.resolve()}")


def spread(texts: Iterable[str], count: int) -> list[str]:
    """`count` texts: as they are, or the only one for all."""
    texts = list(texts) or [""]
    return [texts[0]] * count if len(texts) == 1 else (texts + [""] * count)[:count]
