"""The paper's ablations on the demo world: train what is missing at an equal small budget, measure what is there, compare.

    python3 research/ablate.py                                  tables 4, 7, 3 and 9, then 6 and figure 11
    python3 research/ablate.py --tables 4,7 --steps 1000        some
    python3 research/ablate.py --only measure                   what is trained by now; the rest is marked as not run
    python3 research/ablate.py --only train --arms "JeDi;CLIP encoder"
    python3 research/ablate.py --only train --arms "joined sets"         what research/scenes.py --joined measures

Every arm begins as the model of single pictures and is trained for the same number of steps on as many pictures a step. All
goes on where it was stopped: trainings, and measurements, which are kept beside the models.
"""

from __future__ import annotations

if not __package__:
    from pack import load

    load()

import argparse
import json
import sys
from pathlib import Path

from same_subject.dev import host as hosts
from same_subject.dev import pack
from same_subject.research.ablations.arms import ARMS, JOINED, TABLES

ORDER = (4, 7, 3, 9, 6, 11)


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="research/ablate.py", description=__doc__.splitlines()[0])
    parser.add_argument("--comfyui", help="folder of a ComfyUI to use; default: found or installed")
    parser.add_argument("--tables", default=",".join(map(str, ORDER)), help="in this order; 11 is figure 11, drawn to the folder")
    parser.add_argument("--arms", help="train these alone, separated by semicolons: " + "; ".join((*ARMS, JOINED)))
    parser.add_argument("--steps", type=int, default=1000, help="of each training")
    parser.add_argument("--only", choices=("train", "measure"), help="do one of the two")
    parser.add_argument("--subjects", type=int, help="of each row; default: 200, and 400 for table 6 and figure 11")
    parser.add_argument("--sampling-steps", type=int, default=8, help="of dpmpp_2m, karras")
    parser.add_argument("--folder", type=Path, default=pack.ROOT / "runs", help="of the trainings' states and the measurements")
    parser.add_argument("--output", type=Path, help="also write the tables to this JSON file")
    options = parser.parse_args(arguments)
    try:
        numbers = [int(number) for number in options.tables.split(",")]
    except ValueError:
        numbers = [0]
    if unknown := [number for number in numbers if number not in TABLES]:
        said = options.tables if unknown == [0] else unknown[0]
        parser.error(f"--tables was {said!r}, but needs some of {', '.join(map(str, ORDER))}, separated by commas")
    arms = options.arms.split(";") if options.arms else list(dict.fromkeys(arm for one in numbers for arm in TABLES[one].arms))
    if unknown := [arm for arm in arms if arm not in (*ARMS, JOINED)]:
        parser.error(f"unknown arm {unknown[0]!r}; choose from {'; '.join((*ARMS, JOINED))}")
    if min(options.steps, options.subjects or 1, options.sampling_steps) < 1:
        parser.error("--steps, --subjects and --sampling-steps must be at least 1")
    pack.enter_host(hosts.enter(options.comfyui, __file__, arguments).root)
    from same_subject.research.ablations import running

    runs = running.Runs(options.folder, options.steps, options.sampling_steps)
    if options.only != "measure":
        runs.train(arms)
    results = {} if options.only == "train" else {number: runs.measure(number, options.subjects) for number in numbers}
    if options.output and results:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps({"steps": options.steps, "tables": results}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
