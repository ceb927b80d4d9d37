"""Measure whether the correspondence viewer finds a toy's eye in the other pictures of its set, on subjects never trained on.

    python3 research/correspondence.py --demo                  100 subjects
    python3 research/correspondence.py --demo --subjects 10

For each subject two references are drawn, and one picture is generated with both. Each eye of the first reference is clicked, as
in the node Show Correspondence: is the strongest match in another picture on the same eye? In the second reference that eye's
place is known, as it was drawn. In the generated picture eyes are found by what eyes look like, a dark pupil in a white ring; a
picture with more or fewer of them than the toy has says nothing and is left out. Chance is the share of the viewer's cells that
would count as found.
"""

from __future__ import annotations

if not __package__:
    from pack import load

    load()

import argparse
import sys

from same_subject.dev import host as hosts
from same_subject.dev import pack


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="research/correspondence.py", description=__doc__.splitlines()[0])
    parser.add_argument("--demo", action="store_true", required=True, help="with the model that ships with the pack")
    parser.add_argument("--comfyui", help="folder of a ComfyUI to use; default: found or installed")
    parser.add_argument("--subjects", type=int, default=100, help="how many held-out subjects")
    parser.add_argument("--steps", type=int, default=20, help="steps of the sampler")
    options = parser.parse_args(arguments)
    pack.enter_host(hosts.enter(options.comfyui, __file__, arguments).root)
    from same_subject.research import finding_eyes

    finding_eyes.run(options.subjects, options.steps)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
