"""Paint the pictures of the help pages: what strength, masks, the recipe and choices on the picture do.

python3 research/help_pictures.py --demo                     into js/docs/pictures
python3 research/help_pictures.py --demo --output FOLDER
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

FOLDER = pack.ROOT / "js" / "docs" / "pictures"


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="research/help_pictures.py", description=__doc__.splitlines()[0])
    parser.add_argument("--demo", action="store_true", required=True, help="with the models that ship with the pack")
    parser.add_argument("--comfyui", help="folder of a ComfyUI to use; default: found or installed")
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder for the pictures")
    options = parser.parse_args(arguments)
    pack.enter_host(hosts.enter(options.comfyui, __file__, arguments).root)
    from same_subject.research import paint_help, picture_choices

    picture_choices.run(options.output)
    paint_help.run(options.output)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
