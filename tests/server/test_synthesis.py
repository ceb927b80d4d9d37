"""Making sets to train on through live servers: the shipped demo, what filters leave, and a server that is killed."""

import argparse
import importlib.util
import json
import os
import signal
import sys
import threading
from pathlib import Path

import pytest
import torch
from PIL import Image
from same_subject.dev import client, server
from same_subject.dev import host as hosts
from same_subject.nodes.data import opening, shards
from same_subject.research import synthesize, world
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
