"""The demo of subjects: the shipped graph as it is, with one subject alone, and the way from a picture to a word."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

from same_subject.dev.client import Graph
from same_subject.dev.showing import graphs

ALPHAS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
WORD = "a photo of a star at night"
"""What the subject of the strip, a ball, turns into."""
CENTRE = {"x": 0.2, "y": 0.25, "width": 0.6, "height": 0.65}


@dataclass(frozen=True)
class Showing:
    """A run: the name of its picture's file, without its ending; what the picture shows; the graph."""

    name: str
    caption: str
    graph: Graph


def showings(seed: int | None, steps: int | None) -> Iterator[Showing]:
    """One subject, two, and a strip over the interpolation. None: the graph's own seed or steps."""
    two = graphs.read_graph(graphs.DEMO_SUBJECTS)
    sampler = graphs.node_of(two, "KSampler")["inputs"]
    sampler.update({"seed": sampler["seed"] if seed is None else seed, "steps": steps or sampler["steps"]})
    one = alone(two)
    yield Showing("one_subject", text_of(one), one)
    yield Showing("two_subjects", text_of(two), two)
    for alpha in ALPHAS:
        graph = copy.deepcopy(one)
        graphs.node_of(graph, "SubjectPrompt")["inputs"]["text"] = WORD
        graphs.node_of(graph, "SubjectApply")["inputs"]["interpolation"] = alpha
        yield Showing(f"interpolation_{alpha:.1f}", f"interpolation {alpha:g}", graph)


def text_of(graph: Graph) -> str:
    return graphs.node_of(graph, "SubjectPrompt")["inputs"]["text"]


def alone(graph: Graph) -> Graph:
    """The shipped graph with its first subject in the middle of a square picture."""
    graph = copy.deepcopy(graph)
    (last,) = [name for name, node in graph.items() if "previous" in node["inputs"]]
    first = graph[last]["inputs"]["previous"]
    graphs.drop(graph, graph.pop(last)["inputs"]["image"][0])
    for node in graph.values():
        if node["inputs"].get("subjects") == [last, 0]:
            node["inputs"]["subjects"] = first
    graph[first[0]]["inputs"].update(CENTRE)
    graphs.node_of(graph, "SubjectPrompt")["inputs"]["text"] = (
        f"a photo of a {graph[first[0]]['inputs']['class_name']} in a meadow"
    )
    size = graphs.node_of(graph, "EmptyLatentImage")["inputs"]
    size["width"] = size["height"]
    return graph
