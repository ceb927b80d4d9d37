"""Measure Subject-Diffusion on toys that were never trained on: one in a picture, two of one shape, and what each part brings.

    python3 research/subjects.py --demo                                the adapter that ships, 200 pictures of one toy and of two
    python3 research/subjects.py --demo --settings "shipped;captions alone" --output figures.json
    python3 research/subjects.py --demo --settings "full;without boxes" --models runs      equal small budgets (table 3)

Every picture is made by the pack's nodes on the demo's model of scenes. `full` and the settings after it are adapters that were
trained for the comparison, each `<setting>.safetensors` in the folder of --models, by `research/train.py --recipe`.
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

SHIPPED = "shipped"


@dataclass(frozen=True)
class Setting:
    """One way to paint. model: SHIPPED, a recipe of `train_subjects`, or None for the base model, which sees captions alone.

    layers: whether the layers between self- and cross-attention act. control: steps of attention control. alphas: of an
    interpolation, which is measured otherwise.
    """

    model: str | None = SHIPPED
    layers: bool = True
    control: int = 0
    alphas: tuple[float, ...] = ()


SETTINGS = {
    SHIPPED: Setting(),
    "captions alone": Setting(None),
    "attention control": Setting(control=6),
    "interpolation": Setting(alphas=(0.0, 0.2, 0.4, 0.6, 0.8, 1.0)),
    "full": Setting("other view"),
    "own cut-out": Setting("own cut-out"),
    "without location": Setting("without location"),
    "without boxes": Setting("without boxes"),
    "without adapter": Setting("without adapter", layers=False),
    "without attention": Setting("without attention"),
    "without CLS": Setting("without CLS"),
}


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="research/subjects.py", description=__doc__.splitlines()[0])
    parser.add_argument("--demo", action="store_true", required=True, help="measure the model that ships with the pack")
    parser.add_argument("--comfyui", help="folder of a ComfyUI to use; default: found or installed")
    parser.add_argument("--pictures", type=int, default=200, help="of each setting")
    parser.add_argument("--first", type=int, default=0, help="number of the first")
    parser.add_argument("--subjects", type=int, choices=(1, 2), help="in a picture; default: both")
    parser.add_argument("--settings", help="separated by semicolons: " + "; ".join(SETTINGS))
    parser.add_argument("--models", type=Path, default=pack.ROOT / "runs", help="folder of the adapters to compare")
    parser.add_argument("--steps", type=int, default=12, help="sampling steps (euler, karras)")
    parser.add_argument("--output", type=Path, help="also write the figures to this JSON file")
    parser.add_argument("--save", type=Path, help="also save pictures to this folder")
    options = parser.parse_args(arguments)
    names = options.settings.split(";") if options.settings else [SHIPPED, "captions alone", "interpolation"]
    if unknown := [name for name in names if name not in SETTINGS]:
        parser.error(f"unknown setting {unknown[0]!r}; choose from {'; '.join(SETTINGS)}")
    if options.pictures < 1:
        parser.error("--pictures must be at least 1")
    pack.enter_host(hosts.enter(options.comfyui, __file__, arguments).root)
    from same_subject.research import measure_subjects

    numbers = range(options.first, options.first + options.pictures)
    counts = (options.subjects,) if options.subjects else (1, 2)
    chosen = {name: SETTINGS[name] for name in names}
    painter = measure_subjects.Painter(options.models, options.steps)
    measure_subjects.run(chosen, counts, numbers, painter, options.output, options.save)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
