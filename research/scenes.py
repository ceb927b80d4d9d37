"""Measure identity bleed and seams in scenes of two subjects that were never trained on.

    python3 research/scenes.py --demo                        every setting, 200 scenes
    python3 research/scenes.py --demo --settings "blend;own"   some; --output figures.json for the rows as JSON

Both subjects of a scene have one shape, so that only what the identities say tells them apart. Every picture is made by the
pack's nodes on the demo's model: base picture, phrases to boxes to masks, identities from a picture each, scene.
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


@dataclass(frozen=True)
class Setting:
    """How two identities come into one picture.

    branches: a branch each, in this mode of Concept Scene; else both on one model. masked: each only inside its mask.
    identities: by the adapter. references: without it, as references of one joint set, each inside its mask, or, with
    ``words``, each where its word is found. one_after_the_other: painted into the base picture, each inside its mask, as a
    joint set with its reference, by the model of scenes or, with ``trained``, by the demo's joint-image model. then: the first
    one with the scene, the other into that. joined: by a
    model that was trained on joined sets, both subjects in one reference; nobody says where they stand.
    """

    branches: str | None = None
    last_steps: int = 0
    masked: bool = True
    identities: bool = True
    references: bool = False
    words: bool = False
    one_after_the_other: bool = False
    trained: bool = False
    then: bool = False
    joined: bool = False


SETTINGS = {
    "blend": Setting("blend"),
    "own": Setting("own"),
    "own, S = all": Setting("own", last_steps=10_000),
    "one masked adapter call each": Setting(),
    "without masks": Setting(masked=False),
    "no identities": Setting(identities=False),
    "joint set, masks": Setting(identities=False, references=True),
    "one after the other": Setting(identities=False, one_after_the_other=True),
    "one after the other, joint model": Setting(identities=False, one_after_the_other=True, trained=True),
    "one, then the other": Setting(identities=False, masked=False, then=True),
    "joint set, words": Setting(identities=False, references=True, words=True),
    "joined sets": Setting(identities=False, masked=False, joined=True),
}

TRAIN = 'train it by `python3 research/ablate.py --only train --arms "joined sets"`'


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="research/scenes.py", description=__doc__.splitlines()[0])
    parser.add_argument("--demo", action="store_true", required=True, help="measure the model that ships with the pack")
    parser.add_argument("--comfyui", help="folder of a ComfyUI to use; default: found or installed")
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="number of the first scene")
    parser.add_argument("--settings", help="separated by semicolons: " + "; ".join(SETTINGS))
    parser.add_argument("--two-shapes", action="store_true", help="subjects of two shapes, which words can tell apart")
    parser.add_argument("--steps", type=int, default=12, help="sampling steps (euler, karras)")
    parser.add_argument("--joined", type=Path, help="of setting `joined sets`: the model that research/ablate.py trained")
    parser.add_argument("--output", type=Path, help="also write the figures to this JSON file")
    parser.add_argument("--pictures", type=Path, help="also save each scene's pictures to this folder")
    options = parser.parse_args(arguments)
    missing = {name for name, setting in SETTINGS.items() if setting.joined and not options.joined}
    missing |= {name for name, setting in SETTINGS.items() if setting.words and not options.two_shapes}
    named = [name for name in SETTINGS if name not in missing]
    names = options.settings.split(";") if options.settings else named
    if unknown := [name for name in names if name not in SETTINGS]:
        parser.error(f"unknown setting {unknown[0]!r}; choose from {'; '.join(SETTINGS)}")
    if not options.two_shapes and any(SETTINGS[name].words for name in names):
        parser.error("places by words need --two-shapes: one word cannot tell two subjects apart")
    if options.joined and not options.joined.is_file():
        parser.error(f"--joined was {options.joined}, which does not exist: {TRAIN}")
    if not options.joined and any(SETTINGS[name].joined for name in names):
        parser.error(f"setting `joined sets` needs --joined FILE: {TRAIN}")
    if options.scenes < 1:
        parser.error("--scenes must be at least 1")
    pack.enter_host(hosts.enter(options.comfyui, __file__, arguments).root)
    from same_subject.research import measure_scenes

    numbers = range(options.first, options.first + options.scenes)
    chosen = {name: SETTINGS[name] for name in names}
    drawn = measure_scenes.of_two_shapes if options.two_shapes else measure_scenes.held_out
    measure_scenes.run(chosen, numbers, options.steps, options.output, options.pictures, drawn, options.joined)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
