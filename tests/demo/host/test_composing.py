"""The demo's scene in one node a concept, on the files that ship with the pack: the shipped graph's picture to the bit."""

import pytest
import torch
from same_subject.dev import pack
from same_subject.dev.showing import graphs as demo_graphs
from same_subject.nodes.concepts.nodes import ConceptMasks, FindConcepts
from same_subject.nodes.demo.host import folders
from same_subject.nodes.demo.nodes import LoadDemoModel, LoadDemoTools
from same_subject.nodes.identity.faces import inside
from same_subject.nodes.identity.nodes import IdentityFromPictures
from same_subject.nodes.joint.nodes import ReferencePictures
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
    return model, clip, LoadDemoTools.execute(FILE).result[:5], positive, negative, base, paint


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


TOY = "a photo of a ball on the beach"


def test_a_toy_of_ones_own_comes_out_as_a_concept_of_a_model_that_was_trained_on_sets(studio):
    """Likeness by the demo's own recogniser: 0.94 with the toy's picture behind the concept, 0.39 with the words alone."""
    _, _, (_, _, _, toys, tools), *_ = studio
    model, clip, vae, _ = LoadDemoModel.execute("demo.safetensors").result
    (toy, *_) = tools.face_analysis.faces(toys[0])
    with torch.inference_mode():
        positive, negative = (host_nodes.CLIPTextEncode().encode(clip, text)[0] for text in (TOY, ""))

    def paint(painter):
        with torch.inference_mode():
            (latent,) = host_nodes.EmptyLatentImage().generate(64, 64, 1)
            how = 8, 8, 3.0, "euler", "karras", positive, negative, latent
            return vae.decode(host_nodes.common_ksampler(painter, *how)[0]["samples"].clone())

    base = paint(model)

    def likeness(subject):
        one = ConceptNode.execute("ball", TOY, 1.0, 0.8, 0.0, 1.0, subject=subject).result[0]
        with torch.inference_mode():
            scene, _, _, masks = ComposeScene.execute(
                model, clip, tools, base, positive, negative, {"concept0": one}, "auto", 0, 3, 0.5, "best score first",
                "best score", 0.2, 0.1, "error", vae=vae,
            ).result  # fmt: skip
            found = inside(tools.face_analysis.faces(paint(scene)[0]), masks[0])
        return max(float(torch.cosine_similarity(face.embedding, toy.embedding, dim=0)) for face in found)

    shown = ReferencePictures.execute({"image0": toys[:1]}, "a photo of a ball in the desert", "crop", "grey").result[0]
    assert likeness(()) < 0.6 and likeness(shown) > 0.8
