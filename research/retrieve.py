"""Measure retrieval of references (JeDi, section 8): the nearest to the prompt of a subject's many pictures, against some.

    python3 research/retrieve.py --demo                       3 of 50, 200 subjects that were never trained on
    python3 research/retrieve.py --demo --references 1 --output figures.json

How near a picture of the demo world is to a prompt is told by the demo's own model of single pictures: by how much the prompt
helps it to see what is in the picture under noise. Nearest References does the same with CLIP.
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


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="research/retrieve.py", description=__doc__.splitlines()[0])
    parser.add_argument("--demo", action="store_true", required=True, help="measure the model that ships with the pack")
    parser.add_argument("--comfyui", help="folder of a ComfyUI to use; default: found or installed")
    parser.add_argument("--subjects", type=int, default=200)
    parser.add_argument("--library", type=int, default=50, help="pictures of each subject to choose from")
    parser.add_argument("--references", type=int, default=3, help="how many are chosen")
    parser.add_argument("--steps", type=int, default=8, help="sampling steps (dpmpp_2m, karras)")
    parser.add_argument("--output", type=Path, help="also write the figures to this JSON file")
    options = parser.parse_args(arguments)
    if min(options.subjects, options.steps) < 1:
        parser.error("--subjects and --steps must be at least 1")
    if not 1 <= options.references <= options.library:
        parser.error(f"--references was {options.references}, but needs 1 to {options.library}, as many as --library has")
    pack.enter_host(hosts.enter(options.comfyui, __file__, arguments).root)
    from same_subject.research import measure_retrieval

    result = measure_retrieval.run(options.subjects, options.library, options.references, options.steps)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
