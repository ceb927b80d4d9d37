"""Measure how well the demo models keep a subject and follow a caption, on subjects never trained on.

    python3 research/evaluate.py --demo                          every setting, 200 subjects
    python3 research/evaluate.py --demo --settings joint,sweep   some; `sweep` stands for the guidance sweep
    python3 research/evaluate.py --demo --output figures.json    the rows as JSON, too

Every picture is made by the nodes' own code and the host's sampler. A generated picture is compared with
101 candidates of its own shape and scene: a fresh view of its subject and 100 other subjects.
"""

from __future__ import annotations

if not __package__:
    from pack import load

    load()

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from same_subject.dev import host as hosts
from same_subject.dev import pack

HELD_OUT = 20_000_000
"""Seed of the held-out subjects."""
LAMBDAS = (1.5, 3.0, 5.0, 7.5, 10.0)
BATCH = 20


@dataclass(frozen=True)
class Setting:
    """One way to sample. cfg is the text scale; image is the image scale of the node JeDi; model is a key of export.FILES.

    masks: as drawn ("given"), found by the model ("auto") or none ("off"). recipe: of the node JeDi. color_match: of JeDi
    Options, where it is not the recipe's. bank: of JeDi Options, in MiB.
    """

    mode: str = "joint"
    references: int = 1
    cfg: float = 3.0
    image: float = 3.0
    coupled: bool = True
    literal: bool = False
    model: str = "joint"
    masks: str = "off"
    recipe: str = "paper"
    strength: float = 1.0
    color_match: float | None = None
    bank: int = 0


SETTINGS = {
    "no-reference": Setting(references=0),
    "text-only": Setting("text only"),
    "joint": Setting(),
    "text-first": Setting("text first", image=5.0),
    "image-first": Setting("image first", image=5.0),
    "joint-literal": Setting(literal=True),
    "joint-uncoupled": Setting(coupled=False),
    "joint-3-references": Setting(references=3),
    "training-free": Setting(model="single"),
    "training-free-no-reference": Setting(references=0, model="single"),
    "joint-masked": Setting(masks="given"),
    "joint-masked-colours": Setting(masks="given", color_match=0.8),
    "strong": Setting(cfg=5.0, masks="given", recipe="strong"),
    "stock": Setting(cfg=5.0, model="single", masks="given", recipe="auto"),
    "stock-without-colours": Setting(cfg=5.0, model="single", masks="given", recipe="auto", color_match=0.0),
    "stock-auto": Setting(cfg=5.0, model="single", masks="auto", recipe="auto"),
    "stock-3-references": Setting(references=3, cfg=5.0, model="single", masks="given", recipe="auto"),
    "stock-3-references-auto": Setting(references=3, cfg=5.0, model="single", masks="auto", recipe="auto"),
}
SWEEP = {}
for value in LAMBDAS:
    SWEEP[f"text-only@{value:g}"] = Setting("text only", cfg=value)
    SWEEP[f"joint@{value:g}"] = Setting(cfg=value)
    SWEEP[f"image-first@{value:g}"] = Setting("image first", cfg=value, image=3.0)
    SWEEP[f"text-first@{value:g}"] = Setting("text first", cfg=3.0, image=value)


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="research/evaluate.py", description=__doc__.splitlines()[0])
    parser.add_argument("--demo", action="store_true", required=True, help="evaluate the models that ship with the pack")
    parser.add_argument("--comfyui", help="folder of a ComfyUI to use; default: found or installed")
    parser.add_argument("--subjects", type=int, default=200)
    parser.add_argument("--settings", default=",".join((*SETTINGS, "sweep")), help=", ".join((*SETTINGS, "sweep")))
    parser.add_argument("--steps", type=int, default=8, help="sampling steps (dpmpp_2m, karras)")
    parser.add_argument("--output", type=Path, help="also write the rows to this JSON file")
    options = parser.parse_args(arguments)
    chosen = {}
    for name in options.settings.split(","):
        if name not in SETTINGS and name not in SWEEP and name != "sweep":
            parser.error(f"unknown setting {name!r}; choose from {', '.join((*SETTINGS, 'sweep'))}")
        chosen |= SWEEP if name == "sweep" else {name: (SETTINGS | SWEEP)[name]}
    if options.subjects < 1:
        parser.error("--subjects must be at least 1")
    pack.enter_host(hosts.enter(options.comfyui, __file__, arguments).root)
    from same_subject.research import measure

    measure.run(chosen, options.subjects, options.steps, options.output)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
