"""The graphs of `workflows/api`: reading them, and filling them with what the user gives."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from same_subject.dev import pack
from same_subject.dev.client import Graph
from same_subject.dev.host import SetupError
from same_subject.nodes.demo import examples

FOLDER = pack.ROOT / "workflows" / "api"
DEMO_PICTURES = pack.ROOT / "demo"
DEMO, DEMO_SCENE = "Demo - One Toy in New Scenes", "Demo - Two Toys in One Picture"
DEMO_SUBJECTS = "Demo - Toys Where You Want Them"
OF_FAMILY = {"demo": DEMO, "sdxl": "My Subject in New Scenes - SDXL"}
"""The graph of a family of checkpoints, where it is not `OF_OTHERS`."""
OF_OTHERS = "My Subject in New Scenes - SD 1.5"


def read_graph(name: str) -> Graph:
    """A graph of `workflows/api`, in API format."""
    path = FOLDER / f"{name}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SetupError(f"{path} cannot be read ({error}): get the whole project again.") from error


def node_of(graph: Graph, class_type: str) -> dict[str, Any]:
    """The one node of a class in a graph."""
    found = [node for node in graph.values() if node["class_type"] == class_type]
    if len(found) != 1:
        raise SetupError(f"The graph has {len(found)} nodes {class_type} where one is needed.")
    return found[0]


def picture_inputs(graph: Graph) -> list[str]:
    """The names of the inputs of "Reference Pictures" that take a picture, in order."""
    inputs = node_of(graph, "JediReferences")["inputs"]
    return [name for name, value in inputs.items() if name.startswith("images") and isinstance(value, list)]


def pictures_in(graph: Graph) -> list[Path]:
    """The demo's own pictures that a graph takes, of "Example Pictures" or the `pictures` of "Load Demo Model", in order."""
    shown = sorted(DEMO_PICTURES.glob("reference_*.png"))
    inputs = node_of(graph, "JediReferences")["inputs"]
    taken = []
    for source in (graph[inputs[name][0]] for name in picture_inputs(graph)):
        if source["class_type"] == "ExamplePictures":
            taken += [DEMO_PICTURES / f"{examples.PICTURES[name]}.png" for name in examples.members(source["inputs"]["pictures"])]
            continue
        first, count = 0, len(shown)
        if source["class_type"] == "ImageFromBatch":
            first, count = source["inputs"]["batch_index"], source["inputs"]["length"]
        taken += shown[first : first + count]
    return taken


def fill_graph(
    graph: Graph,
    references: Sequence[str] = (),
    captions: Sequence[str] | None = None,
    prompts: Sequence[str] = (),
    seed: int | None = None,
    steps: int | None = None,
    size: int | None = None,
    checkpoint: str | None = None,
) -> Graph:
    """A copy of a graph with these references (names in the server's input folder) and values; what is not given stays."""
    graph = copy.deepcopy(graph)
    if references:
        wire_references(graph, references)
    chosen = node_of(graph, "JediReferences")["inputs"]
    joint_set = node_of(graph, "JediJointSet")["inputs"]
    sampler = node_of(graph, "KSampler")["inputs"]
    if captions is not None:
        chosen["captions"] = "\n".join(" ".join(caption.split()) for caption in captions)
    if prompts:
        joint_set.update(prompts=join_prompts(prompts), pictures=0)
    if size is not None:
        joint_set.update(width=size, height=size)
    if seed is not None:
        sampler["seed"] = joint_set["reference_seed"] = seed
    if steps is not None:
        sampler["steps"] = steps
    if checkpoint is not None:
        node_of(graph, "CheckpointLoaderSimple")["inputs"]["ckpt_name"] = checkpoint
    return graph


def wire_references(graph: Graph, references: Sequence[str]) -> None:
    """Give "Reference Pictures" one LoadImage a reference, in place of the pictures that the graph gives it."""
    inputs = node_of(graph, "JediReferences")["inputs"]
    names = picture_inputs(graph)
    prefix = re.sub(r"\d+$", "", names[0])
    first = int(names[0][len(prefix) :] or 0)
    for name in names:
        drop(graph, inputs.pop(name)[0])
    for index, reference in enumerate(references):
        node_id = f"9{index:02d}"
        graph[node_id] = {
            "class_type": "LoadImage",
            "inputs": {"image": reference},
            "_meta": {"title": f"Reference {index + 1}"},
        }
        inputs[f"{prefix}{first + index}"] = [node_id, 0]


def drop(graph: Graph, node_id: str) -> None:
    """Remove a node that gave a picture, and the previews of it; a node that others still need stays."""
    takers = {
        name: node for name, node in graph.items()
        if any(isinstance(value, list) and value[0] == node_id for value in node["inputs"].values())
    }  # fmt: skip
    if all(node["class_type"] == "PreviewImage" for node in takers.values()):
        for name in [*takers, node_id]:
            graph.pop(name, None)


def join_prompts(prompts: Sequence[str]) -> str:
    """Prompts as "Joint Set" reads them: one a line, or blocks between `---` where one has several lines."""
    several = any("\n" in prompt.strip() for prompt in prompts)
    return ("\n---\n" if several else "\n").join(prompt.strip() for prompt in prompts)
