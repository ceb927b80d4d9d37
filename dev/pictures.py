"""Hash the pixels of a fixed set of pictures, so that two versions of the pack can be compared bit by bit on one machine.

python3 dev/pictures.py OUT.json               with this pack
python3 dev/pictures.py OUT.json --pack PATH   with the nodes of another checkout of it
"""

if not __package__:
    from pack import load

    load()

import argparse
import copy
import hashlib
import io
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from same_subject.dev import host as hosts
from same_subject.dev import pack, server
from same_subject.dev.client import Client

CHANGES = {
    "demo": {
        "demo": {},
        "demo, text first": {"JediApply": {"guidance": "text first"}},
        "demo, image first": {"JediApply": {"guidance": "image first"}},
    },
    "demo_scene": {
        "demo_scene": {},
        "demo_scene, own": {"ConceptScene": {"continue_from": "own"}, "KSampler": {"sampler_name": "euler"}},
    },
}
"""By graph and by name of the picture: what differs from the graph, by node."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns an exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="dev/pictures.py", description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--pack", type=Path, default=pack.ROOT, help="the checkout whose nodes are used")
    parser.add_argument("--comfyui", type=Path, help="a ComfyUI to use, only read")
    options = parser.parse_args(arguments)
    host = hosts.enter(options.comfyui, __file__, arguments)
    with hosts.plain_errors():
        pack.ROOT = options.pack.resolve()  # the folder that the server links
        with server.Server(host) as running:
            hashes = {name: hashes_of(running.client, graph) for name, graph in graphs()}
    options.out.write_text(json.dumps(hashes, indent=2) + "\n", encoding="utf-8")
    return 0


def graphs() -> Iterator[tuple[str, dict]]:
    """(name, graph in API format) of every run."""
    root = Path(__file__).resolve().parent.parent
    saved = root / "tests" / "saved" / "v0.1.0" / "api"
    for file, changes in CHANGES.items():
        graph = json.loads((saved / f"{file}.json").read_text(encoding="utf-8"))
        for name, inputs in changes.items():
            changed = copy.deepcopy(graph)
            for node in changed.values():
                node["inputs"] |= inputs.get(node["class_type"], {})
            yield name, changed


def hashes_of(client: Client, graph: dict) -> dict[str, list[str]]:
    """sha256 of the size and pixels of each picture that a graph saves or shows, by node."""
    from PIL import Image

    outputs = client.run(graph)
    hashes: dict[str, list[str]] = {}
    for number in sorted(outputs, key=int):
        for entry in outputs[number].get("images", ()):
            picture = Image.open(io.BytesIO(client.picture(entry)))
            content = f"{picture.mode} {picture.size} ".encode() + picture.tobytes()
            hashes.setdefault(number, []).append(hashlib.sha256(content).hexdigest())
    return hashes


if __name__ == "__main__":
    raise SystemExit(main())
