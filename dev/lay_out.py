"""Move the nodes of the shipped workflows apart, as far as they grow in the frontend: opened, after a run, and with errors.

    python3 dev/lay_out.py                 all of workflows/
    python3 dev/lay_out.py Demo SDXL       those whose name holds one of these words

Columns, and the order in them, are those of the files: nodes with one left side are a column. Needs Chromium.
"""

if not __package__:
    from pack import load

    load()

import argparse
import sys
from collections.abc import Sequence

from same_subject.dev import host as hosts
from same_subject.dev import pack, server

EXAMPLE = pack.ROOT / "js" / "examples" / "box at night.png"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="dev/lay_out.py", description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", metavar="WORD", help="only workflows whose name holds one of these")
    parser.add_argument("--comfyui", help="a ComfyUI to use, only read")
    options = parser.parse_args(arguments)
    host = hosts.enter(options.comfyui, __file__, arguments)
    with hosts.plain_errors(), server.Server(host) as live:
        lay_out(live, options.words)
    return 0


def lay_out(live: server.Server, words: Sequence[str]) -> None:
    """Measure the workflows in both renderers, and write where their nodes shall be."""
    from same_subject.tests.server import browser, opened

    files = sorted((pack.ROOT / "workflows").glob("*.json"))
    files = [path for path in files if not words or any(word in path.stem for word in words)]
    picture = live.client.upload(EXAMPLE)
    measured: dict[str, list] = {path.stem: [] for path in files}
    for renderer in (False, True):
        live.client.post("/settings", {"Comfy.TutorialCompleted": True, "Comfy.VueNodes.Enabled": renderer})
        page = browser.Page()
        page.start()
        try:
            page.open(live.client.url)
            page.wait_for(opened.READY)
            for path in files:
                measured[path.stem] += opened.states(page, path.stem, picture)[1].values()
        finally:
            page.stop()
    for path in files:
        opened.lay_out(path, measured[path.stem])
        print(f"{path.stem}: laid out")


if __name__ == "__main__":
    raise SystemExit(main())
