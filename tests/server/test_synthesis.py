"""Making sets to train on through live servers: the shipped demo, what filters leave, and a server that is killed."""

import argparse
import importlib.util
import io
import json
import os
import signal
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from same_subject.dev import client, server
from same_subject.dev import host as hosts
from same_subject.nodes.data import opening, shards
from same_subject.research import synthesize, world
from same_subject.tests.server import checkpoints
from same_subject.tests.server.graphs import changed, link, node

RAY = "local" if importlib.util.find_spec("ray") else "none"
"""Tests do not install it; with it on PYTHONPATH the servers are kept busy through it."""


@pytest.fixture(scope="module")
def collage(tmp_path_factory):
    """A picture that shows one toy twice, and another one."""
    generator = torch.Generator().manual_seed(3)
    two = world.draw_subjects(2, generator, shape=0)
    pictures, _ = world.draw(two, world.draw_poses(2, generator), torch.tensor([0, 0]), generator)
    shown = torch.cat((pictures[0], pictures[0], pictures[1]), dim=2).movedim(0, -1)
    path = tmp_path_factory.mktemp("collage") / "collage.png"
    Image.fromarray((shown * 255).round().to(torch.uint8).numpy()).save(path)
    return path


@pytest.fixture(scope="module")
def graph(live, collage):
    """From a picture of a collage to a shard, without a sampler: pictures are the instances on grey."""
    live.client.upload(collage)
    return {
        "model": node("JediDemoLoader", file="scenes.safetensors"),
        "tools": node("DemoToolsLoader", file="scenes.safetensors"),
        "adapter": node("SubjectAdapterLoader", file="demo", clip=link("model", 1)),
        "prompts": node("S3Prompts", seed=1, subject="ball", instances=3, texts="lists"),
        "picture": node("LoadImage", image="collage.png"),
        "find": node(
            "ConceptFind", detector=link("tools", 2), image=link("picture"), phrases=link("prompts", 1), order="best score",
            index=0, box_threshold=0.35, text_threshold=0.25, if_missing="empty concept",
        ),
        "masks": node("ConceptMasks", boxes=link("find"), grow=0, overlaps="best score first", feather=0.0),
        "group": node(
            "S3Group", image=link("picture"), masks=link("masks", 1), clip_vision=link("adapter", 2),
            subject=link("prompts", 3), affinity=0.95, most=4, least_size=0.01,
        ),
        "paste": node(
            "S3Paste", sets=link("group"), scenes=link("prompts", 2), seed=1, width=64, height=64, smallest=0.4, largest=0.6,
            stylised=1.0, styles="make it red",
        ),
        "caption": node("S3Caption", pictures=link("paste"), model="none: the prompts", prompt=link("paste", 3)),
        "save": node(
            "S3Save", sets=link("group"), pictures=link("paste"), captions=link("caption"), filename_prefix="sets/test",
            name="one", folder="output folder", format="png", styles=link("paste", 6),
        ),
    }  # fmt: skip


def test_instances_of_one_subject_become_a_set_with_captions_and_what_is_known(live, graph):
    outputs = live.client.run(graph)
    (file,) = outputs["save"]["sets"]
    assert file == {"filename": "test_one.tar", "subfolder": "sets", "type": "output"}
    path = live.base / "output" / "sets" / "test_one.tar"
    assert live.client.picture(file) == path.read_bytes()
    (made,) = opening.open_source(path).sets(0, 0)
    assert len(made) == 2 and made.about["subject"] == "ball" and made.about["style"] == "make it red"
    assert made.about["affinity"] > 0.95 and len(set(made.captions)) == 2 and all("a ball" in one for one in made.captions)
    assert all(picture.size == (64, 64) for picture in made.pictures)
    counted = json.loads(outputs["group"]["counted"][0])
    assert counted["instances"] == 3 and counted["sets"] == [2] and sorted(counted["affinities"])[1] < 0.95
    assert len(outputs["group"]["images"]) == len(outputs["save"]["images"]) == 1


def test_where_no_two_are_one_subject_the_rest_is_not_run_and_the_node_says_so(live, graph):
    outputs = live.client.run(changed(graph, "group", affinity=1.0))
    (said,) = outputs["group"]["text"]
    assert "save" not in outputs and said.startswith("0 sets of 0 instances, of 3; the best affinity is ")


def test_what_does_not_fit_is_refused(live, graph):
    for name, inputs, message in (
        ("caption", {"model": "gone"}, "`model` is `gone`, which is in none of"),
        ("prompts", {"texts": "language model"}, "Set SAME_SUBJECT_LLM_URL"),
        ("paste", {"smallest": 0.9, "largest": 0.5}, "`smallest` is 0.9 and `largest` 0.5"),
        ("paste", {"scenes": "\n"}, "`scenes` is empty"),
        ("save", {"name": "../up"}, "`name` is `../up`"),
        ("save", {"captions": link("prompts", 0)}, "`captions` has 1 entries for 2 instances"),
    ):
        with pytest.raises(client.ServerError) as caught:
            live.client.run(changed(graph, name, **inputs))
        assert message in str(caught.value), message
    with pytest.raises(client.ServerError):
        live.client.run(changed(graph, "save", filename_prefix="../../up"))
    assert not list(live.base.parent.glob("up*"))


def test_the_shipped_demo_makes_a_set(live):
    graph = json.loads(synthesize.DEMO.read_text(encoding="utf-8"))
    outputs = live.client.run(graph)
    (number,) = (number for number, each in graph.items() if each["class_type"] == "S3Save")
    (file,) = outputs[number]["sets"]
    (made,) = opening.open_source(live.base / "output" / "sets" / file["filename"]).sets(0, 0)
    assert len(made) == 2 and made.about["subject"] == "ball"


@pytest.fixture(scope="module")
def painters(live):
    """A checkpoint for inpainting with 9 channels, and an InstructPix2Pix with 8: small, with random weights."""
    folder, vae = live.base / "models" / "checkpoints", checkpoints.small_autoencoder()
    folder.mkdir(parents=True, exist_ok=True)
    files = [
        checkpoints.save_sd15(folder / f"{channels} channels.safetensors", checkpoints.UNET | {"in_channels": channels}, vae)
        for channels in (9, 8)
    ]
    yield [path.name for path in files]
    for path in files:
        path.unlink()


def test_the_shipped_graph_for_checkpoints_paints_scenes_and_stylises_with_the_hosts_own_nodes(live, graph, painters):
    shipped = json.loads(synthesize.GRAPH.read_text(encoding="utf-8"))
    made = {number: {"class_type": each["class_type"], "inputs": dict(each["inputs"])} for number, each in shipped.items()}
    numbers = {}
    for number, each in made.items():
        numbers.setdefault(each["class_type"], []).append(number)
        if "steps" in each["inputs"]:
            each["inputs"]["steps"] = 1
    _, inpainting, pix2pix = numbers["CheckpointLoaderSimple"]
    for number, name in zip((inpainting, pix2pix), painters, strict=True):
        made[number]["inputs"]["ckpt_name"] = name
    (paste,), (save,) = numbers["S3Paste"], numbers["S3Save"]
    made[paste]["inputs"].update(sets=link("group"), scenes=link("prompts", 2), width=64, height=64, stylised=1.0)
    made[save]["inputs"].update(sets=link("group"), filename_prefix="sets/shipped")
    for unused in (*numbers["S3Prompts"], *numbers["S3Group"]):
        del made[unused]
    until = {name: each for name, each in graph.items() if name not in ("paste", "caption", "save")}

    def pictures(**more):
        whole = changed({**made, **until}, paste, **more)
        (file,) = live.client.run({name: whole[name] for name in needed(whole, save)})[save]["sets"]
        (one,) = opening.open_source(live.base / "output" / "sets" / file["filename"]).sets(0, 0)
        assert len(one) == 2 and all(picture.size == (64, 64) for picture in one.pictures)
        return one.about["style"], [np.asarray(picture, dtype=int) for picture in one.pictures]

    style, stylised = pictures()
    none, plain = pictures(stylised=0.0)
    assert style and not none and all(abs(one - other).mean() > 2 for one, other in zip(stylised, plain, strict=True))
    shown = node("SaveImage", images=link("paste"), filename_prefix="pasted")
    pasted = live.client.run({**until, "paste": made[paste], "shown": shown})
    for one, file in zip(plain, pasted["shown"]["images"], strict=True):
        given = np.asarray(Image.open(io.BytesIO(live.client.picture(file))).convert("RGB"), dtype=int)
        grey = abs(given - 128).max(axis=2) <= 1
        assert abs(one - given)[~grey].mean() < 12 < abs(one - given)[grey].mean(), "a scene around the instance as it was"


def needed(graph, number, found=()):
    """The nodes that a node needs, with itself."""
    if number in found:
        return found
    found = (*found, number)
    for value in graph[number]["inputs"].values():
        if isinstance(value, list):
            found = needed(graph, value[0], found)
    return found


def test_a_server_that_is_killed_in_the_middle_loses_nothing_and_doubles_nothing(live, graph, collage, tmp_path):
    path, balls = tmp_path / "graph.json", tmp_path / "subjects.txt"
    path.write_text(json.dumps(graph))
    balls.write_text("ball")
    said, host = [], hosts.Host(Path(os.environ["COMFYUI_PATH"]), Path(sys.executable), True)
    variables = {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    with server.Server(host, say=said.append, variables=variables) as other:
        other.client.upload(collage)
        options = argparse.Namespace(
            servers=[live.client.url, other.client.url], output=tmp_path / "out", graph=path, demo=False, subjects=balls, seed=0,
            language_model=False, collages=16, sets_a_shard=5, ray=RAY,
        )  # fmt: skip
        killed = threading.Thread(target=kill_at_work, args=(other,))
        killed.start()
        report = synthesize.synthesize(options)
        killed.join()
        assert other.process.wait(10) == -signal.SIGKILL
    made = [key for tar in sorted((tmp_path / "out").glob("*.tar")) for key, _ in shards.samples(tar)]
    assert len(made) == len(set(made)) == 16, "one set a collage"
    assert "0 collages were done before, 16 now" in report and "0 collages failed" in report
    lost = next(line for line in report.splitlines() if line.startswith(other.client.url)).split()
    assert int(lost[1]) >= 1 and int(lost[2]) >= 1, "it had done some, and had one when it was killed"


def kill_at_work(other):
    """Kill a server as soon as it has done one and is at the next."""
    while len(other.client.get("/history")) < 1 or not other.client.get("/queue")["queue_running"]:
        pass
    other.process.kill()
