"""Graphs of ComfyUI_InstantID on a server without it: prompts as they are, and a saved graph after *Replace* in the frontend.

Checkpoint, ControlNet and adapter have random weights and one level; the face pack is planted.
"""

import json
import time

import pytest
import torch
from PIL import Image
from same_subject.dev import client
from same_subject.tests.server import checkpoints, graphs
from same_subject.tests.server.graphs import changed, link, node
from same_subject.tests.tiny import face_models, identities

pytest.importorskip("insightface", reason="insightface is a test tool of its own; `python3 dev/test.py` brings it")
pytest.importorskip("onnx", reason="onnx makes the synthetic pack")

PEOPLE = {"ann": (4, 4, 0.9, 1.0), "ben": (9, 12, 0.8, 0.3)}


@pytest.fixture(scope="module")
def ready(live):
    """The server with the files of such a graph, and pictures of two people."""
    models = live.base / "models"
    for name in ("checkpoints", "controlnet", "instantid"):
        (models / name).mkdir(exist_ok=True)
    large = [
        checkpoints.save_sd15(models / "checkpoints" / "one level.safetensors"),
        models / "controlnet" / "one level.safetensors",
    ]
    checkpoints.save_plain_control(large[1])
    state = identities.adapter_state(width=768, channels=[320] * 3, gain=30.0)
    torch.save(state, models / "instantid" / "one level.bin")
    face_models.save_pack(models / "insightface" / "models" / "antelopev2")
    for name, face in PEOPLE.items():
        Image.fromarray((face_models.picture(face) * 255).byte().numpy()).save(live.base / f"{name}.png")
        live.client.upload(live.base / f"{name}.png")
    yield live
    for file in large:
        file.unlink()


def common():
    """What their graphs and ours have in common, but for the inputs of the sampler."""
    return {
        "checkpoint": node("CheckpointLoaderSimple", ckpt_name="one level.safetensors"),
        "control": node("ControlNetLoader", control_net_name="one level.safetensors"),
        "ann": node("LoadImage", image="ann.png"),
        "ben": node("LoadImage", image="ben.png"),
        "positive": node("CLIPTextEncode", clip=link("checkpoint", 1), text="a person"),
        "negative": node("CLIPTextEncode", clip=link("checkpoint", 1), text="a dog"),
        "black": node("SolidMask", value=0.0, width=64, height=64),
        "white": node("SolidMask", value=1.0, width=32, height=64),
        "half": node("MaskComposite", destination=link("black"), source=link("white"), x=0, y=0, operation="add"),
        "latent": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "sampler": node("KSampler", latent_image=link("latent"), seed=1, steps=2, cfg=3.0, sampler_name="euler",
                        scheduler="normal", denoise=1.0),
        "decode": node("VAEDecode", samples=link("sampler"), vae=link("checkpoint", 2)),
        "save": node("SaveImage", images=link("decode"), filename_prefix="instantid"),
    }  # fmt: skip


LOADERS = {
    "instantid": node("InstantIDModelLoader", instantid_file="one level.bin"),
    "insightface": node("InstantIDFaceAnalysis", provider="CPU"),
}


def theirs(kind="ApplyInstantID", **given):
    """A graph of theirs. given: inputs of its node beyond links."""
    graph = common() | LOADERS
    graph["apply"] = node(
        kind, instantid=link("instantid"), insightface=link("insightface"), control_net=link("control"), image=link("ann"),
        model=link("checkpoint"), positive=link("positive"), negative=link("negative"), **given, start_at=0.0, end_at=1.0,
    )  # fmt: skip
    return sampled(graph, link("apply"), link("apply", 1), link("apply", 2))


def sampled(graph, model, positive, negative):
    graph["sampler"]["inputs"] |= {"model": model, "positive": positive, "negative": negative}
    return graph


def ours(weight=0.8, strength=0.8, noise=0.35, combine="average", keypoints=None, mask=None):
    """The graph of our own nodes that paints the same."""
    graph = common() | {
        "adapter": node("IdentityLoader", adapter="one level.bin", control_net="none"),
        "analysis": node("IdentityFaceAnalysis", files="any", device="cpu"),
    }
    choice = {"face_analysis": link("analysis"), "face": "largest", "number": 0, "x": 0.5, "y": 0.5}
    graph["identity"] = node("IdentityFromPictures", **choice, noise=noise, combine=combine, **{"images.image0": link("ann")})
    graph["keypoints"] = node("IdentityKeypoints", **choice, image=link(keypoints or "ann"))
    person = {"adapter": link("adapter"), "identity": link("identity"), "start_percent": 0.0, "end_percent": 1.0}
    where = {} if mask is None else {"mask": link(mask)}
    graph["apply"] = node("IdentityApply", model=link("checkpoint"), weight=weight, **person, **where)
    graph["face"] = node(
        "IdentityControl", positive=link("positive"), negative=link("negative"), control_net=link("control"),
        keypoints=link("keypoints"), strength=strength, **person,
    )  # fmt: skip
    if mask is not None:
        graph["masked"] = node(
            "ConditioningSetMask", conditioning=link("face"), mask=link(mask), strength=1.0, set_cond_area="default"
        )
    return sampled(graph, link("apply"), link("face" if mask is None else "masked"), link("face", 1))


def painted(live, graph):
    (picture,) = graphs.pictures(live, graph)
    return picture.tobytes()


def test_their_prompts_run_as_they_are_and_paint_what_our_nodes_paint(ready):
    """With and without the optional `image_kps` and `mask`, which the host's own mechanism stumbles over."""
    plain = painted(ready, theirs(weight=0.8))
    assert plain == painted(ready, ours())
    masked = painted(ready, theirs(weight=0.6, mask=link("half"), image_kps=link("ben")))
    assert masked == painted(ready, ours(0.6, 0.6, mask="half", keypoints="ben"))
    advanced = {"ip_weight": 0.9, "cn_strength": 0.3, "noise": 0.0, "combine_embeds": "average"}
    parted = painted(ready, theirs("ApplyInstantIDAdvanced", **advanced))
    assert parted == painted(ready, ours(0.9, 0.3, 0.0))
    graph = common() | LOADERS
    graph["keypoints"] = node("FaceKeypointsPreprocessor", faceanalysis=link("insightface"), image=link("ben"))
    graph["patch"] = node(
        "InstantIDAttentionPatch", instantid=link("instantid"), insightface=link("insightface"), image=link("ann"),
        model=link("checkpoint"), weight=0.9, start_at=0.0, end_at=1.0, noise=0.2,
    )  # fmt: skip
    graph["face"] = node(
        "ApplyInstantIDControlNet", face_embeds=link("patch", 1), control_net=link("control"), image_kps=link("keypoints"),
        positive=link("positive"), negative=link("negative"), strength=0.3, start_at=0.0, end_at=1.0,
    )  # fmt: skip
    halves = painted(ready, sampled(graph, link("patch"), link("face"), link("face", 1)))
    assert halves == painted(ready, ours(0.9, 0.3, 0.2, keypoints="ben"))
    assert len({plain, masked, parted, halves}) == 4


def test_what_their_prompts_lack_is_an_error_of_that_node(ready):
    graph = graphs.without(theirs(weight=0.8), "apply", "weight", "model")
    with pytest.raises((client.Refused, client.NodeFailed), match="weight"):
        ready.client.run(graph)
    with pytest.raises(client.Refused, match="start_at"):
        ready.client.run(changed(theirs(weight=0.8), "apply", start_at=0.9, end_at=0.1))


def test_the_nodes_load_and_are_not_in_the_search(ready):
    described = ready.client.get("/object_info")
    replacements = ready.client.get("/node_replacements")
    assert {"ApplyInstantID", "ApplyInstantIDAdvanced", "ApplyInstantIDControlNet", "InstantIDAttentionPatch"} <= set(
        replacements
    )
    assert not {name for name in replacements if "InstantID" in name} & set(described)
    for name in ("IdentityApplyInstantID", "IdentityInstantIDControlNet"):
        assert described[name]["deprecated"] is True


KINDS = {
    "CheckpointLoaderSimple": ("", "MODEL CLIP VAE"),
    "ControlNetLoader": ("", "CONTROL_NET"),
    "LoadImage": ("", "IMAGE MASK"),
    "CLIPTextEncode": ("clip:CLIP", "CONDITIONING"),
    "SolidMask": ("", "MASK"),
    "EmptyLatentImage": ("", "LATENT"),
    "KSampler": ("model:MODEL positive:CONDITIONING negative:CONDITIONING latent_image:LATENT", "LATENT"),
    "VAEDecode": ("samples:LATENT vae:VAE", "IMAGE"),
    "SaveImage": ("images:IMAGE", ""),
    "InstantIDModelLoader": ("", "INSTANTID"),
    "InstantIDFaceAnalysis": ("", "FACEANALYSIS"),
    "ApplyInstantID": (
        "instantid:INSTANTID insightface:FACEANALYSIS control_net:CONTROL_NET image:IMAGE model:MODEL positive:CONDITIONING "
        "negative:CONDITIONING image_kps:IMAGE mask:MASK", "MODEL CONDITIONING CONDITIONING",
    ),
}  # fmt: skip
"""Sockets of nodes as a graph of theirs holds them."""
WIDGETS = {"KSampler": ["fixed"], "LoadImage": ["image"]}
"""What the frontend stores beyond inputs: after the first one."""


def saved(prompt):
    """A prompt of theirs as their frontend saved it in 2024."""
    numbers, links, made = {name: number for number, name in enumerate(prompt, 1)}, [], []
    for name, one in prompt.items():
        ins, outs = (part.split() for part in KINDS[one["class_type"]])
        sockets = []
        for place, socket in enumerate(ins):
            given, kind = socket.split(":")
            source = one["inputs"].get(given)
            if source:
                links.append([len(links) + 1, numbers[source[0]], source[1], numbers[name], place, kind])
            sockets.append({"name": given, "type": kind, "link": len(links) if source else None})
        values = [value for value in one["inputs"].values() if not isinstance(value, list)]
        made.append({
            "id": numbers[name], "type": one["class_type"], "pos": [320 * (numbers[name] % 5), 300 * (numbers[name] // 5)],
            "size": [300, 200], "flags": {}, "order": numbers[name], "mode": 0, "inputs": sockets,
            "outputs": [{"name": kind, "type": kind, "links": []} for kind in outs],
            "properties": {"Node name for S&R": one["class_type"]},
            "widgets_values": values[:1] + WIDGETS.get(one["class_type"], []) + values[1:],
        })  # fmt: skip
    for number, origin, output, *_ in links:
        made[origin - 1]["outputs"][output]["links"].append(number)
    return {"last_node_id": len(made), "last_link_id": len(links), "nodes": made, "links": links, "groups": [], "version": 0.4}


def of_a_user(**given):
    """A graph of theirs with the nodes that are in KINDS."""
    graph = theirs(weight=0.6, **given)
    for name in {"ben", "black", "white", "half"} - {source[0] for source in given.values()}:
        del graph[name]
    return graph


BUTTON = "[...document.querySelectorAll('button')].find(button => button.innerText.trim() == '{}')"
QUEUED = "(async () => (await app.graphToPrompt()).output)()"


def replaced(page, prompt):
    """What the frontend queues for a graph that was saved with their nodes, after *Replace All*."""
    page.evaluate(f"app.loadGraphData({json.dumps(saved(prompt))}, true, true, 'theirs')")
    page.wait_for(f"{BUTTON.format('View details')} || {BUTTON.format('Replace All')}", 60)
    page.evaluate(f"{BUTTON.format('View details')}?.click()")
    page.wait_for(BUTTON.format("Replace All"), 60)
    page.evaluate(f"{BUTTON.format('Replace All')}.click()")
    page.wait_for("app.graph.nodes.every(node => node.type in LiteGraph.registered_node_types)", 60)
    return page.evaluate(QUEUED)


def test_a_saved_graph_of_theirs_runs_after_replace(ready, page):
    for given in ({}, {"image_kps": ["ben", 0], "mask": ["white", 0]}):
        prompt = of_a_user(**given)
        queued = replaced(page, prompt)
        (person,) = (one["inputs"] for one in queued.values() if one["class_type"] == "IdentityApplyInstantID")
        assert (person["weight"], person["start_at"], person["end_at"]) == (0.6, 0, 1)
        assert set(person) & {"image_kps", "mask"} == set(given), "connected as they were"
    page.evaluate("app.loadGraphData(app.graph.serialize(), true, true, 'again')")
    assert page.evaluate(QUEUED) == queued, "and as they are when it was saved again"
    before = set(ready.client.get("/history"))
    page.evaluate("app.queuePrompt(0, 1)")
    deadline = time.monotonic() + 300
    while not (new := {name: run for name, run in ready.client.get("/history").items() if name not in before}):
        assert time.monotonic() < deadline, "the run did not end"
        time.sleep(0.2)
    (run,) = new.values()
    assert run["status"]["status_str"] == "success", run["status"]["messages"][-1]
    (picture,) = (entry for output in run["outputs"].values() for entry in output["images"])
    assert graphs.open_picture(ready, picture).tobytes() == painted(ready, prompt), "which runs unasked as a prompt"
