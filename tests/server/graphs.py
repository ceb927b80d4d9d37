"""Graphs in API format for the live server: the basic graph of the pack, and changes to it."""

import asyncio
import copy
import importlib
import io


def link(node_id, output=0):
    """An input that comes from another node."""
    return [node_id, output]


def basic(references=("red.png",), prompts="one\ntwo", steps=2, size=64, seed=1, file="tiny.safetensors", **apply):
    """Demo model -> pictures -> Reference Pictures -> Joint Set -> JeDi -> KSampler -> Pick -> decode -> save."""
    graph = {
        "model": node("JediDemoLoader", file=file),
        "references": node("JediReferences", captions="", fit="crop", background="grey"),
        "set": node(
            "JediJointSet", clip=link("model", 1), vae=link("model", 2), references=link("references"), prompts=prompts,
            negative="", pictures=0, sets=1, width=size, height=size, reference_seed=0,
        ),
        "jedi": node(
            "JediApply", model=link("model"), joint_set=link("set", 3),
            **{"guidance": "joint", "image_scale": 5.0, "start_percent": 0.0, "end_percent": 1.0, **apply},
        ),
        "sampler": node(
            "KSampler", model=link("jedi"), positive=link("set", 0), negative=link("set", 1), latent_image=link("set", 2),
            seed=seed, steps=steps, cfg=3.0, sampler_name="euler", scheduler="normal", denoise=1.0,
        ),
        "pick": node("JediPick", samples=link("sampler"), joint_set=link("set", 3), which="generated", indices="0"),
        "decode": node("VAEDecode", samples=link("pick"), vae=link("model", 2)),
        "save": node("SaveImage", images=link("decode"), filename_prefix="test"),
    }  # fmt: skip
    for number, name in enumerate(references):
        graph[f"picture{number}"] = node("LoadImage", image=name)
        graph["references"]["inputs"][f"images.image{number}"] = link(f"picture{number}")
    return graph


def node(class_type, **inputs):
    """One node of a graph."""
    return {"class_type": class_type, "inputs": inputs}


def changed(graph, node_id, **inputs):
    """A copy of a graph in which one node has other inputs."""
    graph = copy.deepcopy(graph)
    graph[node_id]["inputs"].update(inputs)
    return graph


def without(graph, node_id, *names):
    """A copy of a graph in which one node lacks some inputs."""
    graph = copy.deepcopy(graph)
    for name in names:
        del graph[node_id]["inputs"][name]
    return graph


def pictures(live, graph):
    """Run a graph and return what its node `save` saved, as RGB pictures."""
    return [open_picture(live, entry) for entry in live.client.run(graph)["save"]["images"]]


def open_picture(live, entry):
    """One saved picture of a run."""
    from PIL import Image

    return Image.open(io.BytesIO(live.client.picture(entry))).convert("RGB")


def stock_nodes():
    """The host's own node classes by name, with those that the example workflows take from its extras."""
    import nodes

    extras = {}
    for name in ("custom_sampler", "images", "ip2p", "logic", "mask", "post_processing", "primitive"):
        extension = asyncio.run(importlib.import_module(f"comfy_extras.nodes_{name}").comfy_entrypoint())
        extras |= {node.GET_SCHEMA().node_id: node for node in asyncio.run(extension.get_node_list())}
    return {**nodes.NODE_CLASS_MAPPINGS, **extras}


def node_classes():
    """All node classes by name: the pack's, and the host's of `stock_nodes`."""
    import same_subject

    extension = asyncio.run(same_subject.comfy_entrypoint())
    asyncio.run(extension.on_load())
    return {**stock_nodes(), **{node.GET_SCHEMA().node_id: node for node in asyncio.run(extension.get_node_list())}}
