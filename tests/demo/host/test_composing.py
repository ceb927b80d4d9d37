"""The demo's scene in one node a concept, on the files that ship with the pack: the shipped graph's picture to the bit."""

import pytest
import torch
from same_subject.dev import pack
from same_subject.dev.showing import graphs as demo_graphs
from same_subject.nodes.concepts.nodes import ConceptMasks, FindConcepts
from same_subject.nodes.demo.host import folders
from same_subject.nodes.demo.nodes import LoadDemoModel, LoadDemoTools
from same_subject.nodes.identity.nodes import IdentityFromPictures
from same_subject.nodes.scene.nodes import ComposeScene, ConceptBranch, ConceptNode, ConceptScene
from same_subject.tests.tiny.sets import gap

import nodes as host_nodes

pytestmark = pytest.mark.skipif(not (pack.ROOT / "demo" / "scenes.safetensors").is_file(), reason="needs the demo's models")
FILE = "scenes.safetensors"


@pytest.fixture(scope="module")
def studio():
    """The demo's model, text encoder and tools, the sampler's inputs as the workflow has them, and its base picture."""
    folders.register()
    model, clip, vae, _ = LoadDemoModel.execute(FILE).result
    graph = demo_graphs.read_graph(demo_graphs.DEMO_SCENE)
    sampler = next(one["inputs"] for one in graph.values() if one["class_type"] == "KSampler")
    words = demo_graphs.node_of({"words": graph[sampler["positive"][0]]}, "CLIPTextEncode")["inputs"]["text"]
    seed = demo_graphs.node_of(graph, "PrimitiveInt")["inputs"]["value"]
    positive, negative = (host_nodes.CLIPTextEncode().encode(clip, text)[0] for text in (words, ""))

    def paint(model, name=sampler["sampler_name"]):
        (latent,) = host_nodes.EmptyLatentImage().generate(128, 64, 1)
        with torch.inference_mode():
            (out,) = host_nodes.common_ksampler(
                model, seed, sampler["steps"], sampler["cfg"], name, sampler["scheduler"], positive, negative, latent
            )
            return out["samples"].clone()

    with torch.inference_mode():
        base = vae.decode(paint(model))
    return model, clip, LoadDemoTools.execute(FILE).result, positive, negative, base, paint


def compose(studio, toys, continue_from="blend", **more):
    model, clip, (*_, tools), positive, negative, base, _ = studio
    concepts = {
        f"concept{number}": ConceptNode.execute(phrase, "", 1.0, 0.8, 0.0, 1.0, images={"image0": toy[None]}).result[0]
        for number, (phrase, toy) in enumerate(zip(("ball", "star"), toys, strict=True))
    }
    with torch.inference_mode():
        return ComposeScene.execute(
            model, clip, tools, base, positive, negative, concepts, continue_from, 0, 3, 0.5, "best score first", "best score",
            0.35, 0.25, "error",
        ).result  # fmt: skip


def test_the_demo_in_one_node_a_toy_is_the_shipped_graph_to_the_bit(studio):
    model, _, (adapter, analysis, detector, toys, _), positive, negative, base, paint = studio
    with torch.inference_mode():
        boxes, _, _, preview = FindConcepts.execute(detector, base, "ball\nstar", "best score", 0, 0.35, 0.25, "error").result
        places, masks, *_ = ConceptMasks.execute(boxes, 3, "best score first", 0.5).result
        branches = ()
        for toy in toys:
            identity, _ = IdentityFromPictures.execute(analysis, {"image0": toy[None]}, "largest", 0, 0.5, 0.5).result
            (branches,) = ConceptBranch.execute(
                positive, negative, previous=branches, adapter=adapter, identity=identity, weight=1.0
            ).result
        long = ConceptScene.execute(model, branches, "blend", 0, 0.5, places).result[0]
    short, shown, _, own = compose(studio, toys)
    expected = paint(long)
    assert torch.equal(paint(short), expected) and torch.equal(shown, preview) and torch.equal(own, masks)
    assert gap(paint(model), expected) > 0.05, "the scene without its toys"
    assert gap(paint(compose(studio, toys.flip(0))[0]), expected) > 0.05, "the toys exchanged"
    auto = compose(studio, toys, "auto")[0]
    assert torch.equal(paint(auto), expected), "dpmpp_2m is no sampler for own"
    assert gap(paint(auto, "euler"), paint(short, "euler")) > 0.01, "euler is"
