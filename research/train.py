"""Train everything that ships with the pack: VAE, judges, denoisers of pictures, of joint sets and of scenes.

python3 research/train.py                       all stages, into demo/ and research/judge.safetensors
python3 research/train.py --stages joint        one stage; a stopped run goes on where it was
"""

from __future__ import annotations

if not __package__:
    from pack import load

    load()

import argparse
import sys
from pathlib import Path

from same_subject.dev import host as hosts
from same_subject.dev import pack

STAGES = {
    "vae": (1500, 1e-3),
    "judge": (520, 2e-3),
    "single": (1000, 8e-4),
    "joint": (8400, 6e-4),
    "finder": (450, 2e-3),
    "scene": (7600, 6e-4),
    "encoder": (1200, 1e-3),
    "subjects": (5000, 1e-3),
    "pictures": (0, 0.0),
}
"""Steps and learning rate of each stage, in order; the last one draws the demos' pictures."""


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="research/train.py", description=__doc__.splitlines()[0])
    parser.add_argument("--comfyui", help="folder of a ComfyUI to use; default: found or installed")
    parser.add_argument("--folder", type=Path, default=pack.ROOT / "runs", help="where the state of the runs is kept")
    parser.add_argument("--stages", default=",".join(STAGES), help="comma-separated: " + ", ".join(STAGES))
    parser.add_argument("--steps", type=int, help="steps of each stage given, instead of its own number")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--recipe", help="of stage subjects, to compare: its adapter becomes `<folder>/<recipe>.safetensors`")
    parser.add_argument("--data", type=Path, help="of stage subjects: a folder of research/label.py, in place of drawn pictures")
    parser.add_argument("--start", help="of --recipe: begin with the weights of this run in the folder, such as `subjects`")
    options = parser.parse_args(arguments)
    stages = options.stages.split(",")
    if unknown := [stage for stage in stages if stage not in STAGES]:
        parser.error(f"unknown stage {', '.join(unknown)}; choose from {', '.join(STAGES)}")
    pack.enter_host(hosts.enter(options.comfyui, __file__, arguments).root)
    if options.start and not options.recipe:
        parser.error("--start is of --recipe alone")
    if options.recipe or options.data:
        if stages != ["subjects"]:
            parser.error("--recipe and --data are of --stages subjects alone")
        steps = options.steps or STAGES["subjects"][0]
        return compare(options.recipe, options.data, options.folder, steps, options.seed, options.start)
    for stage in stages:
        steps, rate = STAGES[stage]
        train(stage, str(options.folder), options.steps or steps, rate, options.seed)
    return 0


def compare(recipe: str | None, data: Path | None, folder: Path, steps: int, seed: int, start: str | None) -> int:
    """Train an adapter by another recipe than the one that ships, or on other pictures."""
    from same_subject.research import export_subjects, train_subjects

    if recipe and recipe not in train_subjects.RECIPES:
        print(f"unknown recipe {recipe!r}; choose from {', '.join(train_subjects.RECIPES)}", file=sys.stderr)
        return 2
    name, chosen = recipe or data.name, train_subjects.RECIPES[recipe] if recipe else train_subjects.Recipe()
    train_subjects.train(str(folder), steps, STAGES["subjects"][1], seed, name, chosen, data, start)
    export_subjects.export(str(folder), name, chosen, folder / f"{name}.safetensors", data)
    return 0


def train(stage: str, folder: str, steps: int, rate: float, seed: int) -> None:
    """Train one stage and write what it makes to where the pack reads it."""
    from same_subject.research import (
        export,
        export_subjects,
        finder,
        image_encoder,
        judge,
        train_denoiser,
        train_scenes,
        train_subjects,
        train_vae,
    )

    if stage == "vae":
        train_vae.train(folder, steps, rate=rate, seed=seed)
    elif stage == "judge":
        judge.train(folder, steps, rate=rate, seed=seed)
    elif stage == "pictures":
        for caption in (*export.draw_references(), *export.draw_toys()):
            print(caption)
        export.draw_examples()
    elif stage == "encoder":
        image_encoder.train(folder, steps, rate, seed)
    elif stage == "subjects":
        train_subjects.train(folder, steps, rate, seed)
        export_subjects.export(folder)
    elif stage == "finder":
        finder.train(folder, steps, rate, seed)
    elif stage == "scene":
        train_scenes.train(folder, steps, rate, seed)
    else:
        train_denoiser.train(folder, stage, steps, rate, seed)
    if stage in export.FILES:
        export.export(folder, stage, export.FILES[stage])


if __name__ == "__main__":
    raise SystemExit(main())
