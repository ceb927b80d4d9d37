"""Train Joint Model on the live server: what it trains, shows, keeps when it is stopped, and where it reads and writes."""

import shutil

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from same_subject.dev import client, pack
from same_subject.tests.server import graphs
from same_subject.tests.server.graphs import link, node

FILE = "single.safetensors"


@pytest.fixture(scope="module")
def sets(live):
    """The demo's model of single pictures, and two sets of two pictures each in the input folder."""
    shutil.copy(pack.ROOT / "research" / FILE, live.base / "models" / "jedi_demo" / FILE)
    for number, colours in enumerate((("red", "darkred"), ("green", "darkgreen"))):
        folder = live.base / "input" / "sets" / f"subject {number}"
        folder.mkdir(parents=True)
        for view, colour in enumerate(colours):
            picture = Image.new("RGB", (64, 64), "white")
            picture.paste(colour, (8 + 8 * view, 16, 40, 48))
            picture.save(folder / f"{view}.png")
            (folder / f"{view}.txt").write_text("a star on the beach")


def graph(name, steps, /, **inputs):
    """Training, and two pictures by what comes out of it."""
    painted = graphs.basic(("red.png",), file=FILE)
    chosen = {"data": "sets", "name": name, "steps": steps, "rate": 1e-2, "side": 64, "rows": 2, "sheet_every": 2, "seed": 1}
    networks = {"model": link("model"), "clip": link("model", 1), "vae": link("model", 2)}
    painted["train"] = node("TrainJointModel", **networks, **{**chosen, **inputs})
    painted["jedi"]["inputs"]["model"] = link("train")
    return painted


def lora(live, name):
    return load_file(live.base / "models" / "loras" / f"{name}.safetensors")


def test_it_trains_a_lora_that_the_stock_loader_takes_and_shows_how_it_goes(live, sets):
    shown = []

    def watch(kind, data):
        if kind == "same-subject.strip" and data["node"] == "train":
            shown.append(data)

    outputs = live.client.run(graph("toys", 4), watch)
    assert [one.get("step") for one in shown] == [1, 2, 4, None] and shown[-1]["picture"] is None
    assert shown[0]["size"][1] < shown[1]["size"][1], "the curve alone, then with a sheet below"
    assert all(one["picture"].startswith("data:image/jpeg;base64,") and one["steps"] == 4 for one in shown[:-1])
    curve, sheet = (graphs.open_picture(live, entry) for entry in outputs["train"]["images"])
    assert curve.width == 480 and len(sheet.getcolors(1 << 20)) > 20
    trained = [graphs.open_picture(live, entry) for entry in outputs["save"]["images"]]
    stock = graph("toys", 4)
    del stock["train"]
    stock["lora"] = node("LoraLoaderModelOnly", model=link("model"), lora_name="toys.safetensors", strength_model=1.0)
    stock["jedi"]["inputs"]["model"] = link("lora")
    assert [one.tobytes() for one in graphs.pictures(live, stock)] == [one.tobytes() for one in trained]
    base = graphs.changed(stock, "lora", strength_model=0.0)
    base["jedi"]["inputs"]["model"] = link("model")
    assert [one.tobytes() for one in graphs.pictures(live, base)] != [one.tobytes() for one in trained]


def test_stopped_it_keeps_what_it_learned_and_goes_on(live, sets):
    state, steps, shown = live.base / "output" / "training" / "stopped.pt", [], []

    def stop(kind, data):
        if kind == "same-subject.strip":
            shown.append(data["picture"])
        if kind == "progress" and data["node"] == "train" and data["value"] >= 3:
            steps.append(data["value"])
            if len(steps) == 1:
                live.client.interrupt()

    with pytest.raises(client.Interrupted):
        live.client.run(graph("stopped", 2000, sheet_every=0), stop)
    assert shown and all(shown), "what was stopped stays in sight"
    done = torch.load(state, weights_only=True)["done"]
    assert 3 <= done <= steps[0] + 20
    before = lora(live, "stopped")
    begun = []

    def note(kind, data):
        if kind == "progress" and data["node"] == "train":
            begun.append(data["value"])

    live.client.run(graph("stopped", done + 2, sheet_every=0), note)
    assert min(begun) >= done and torch.load(state, weights_only=True)["done"] == done + 2
    after = lora(live, "stopped")
    assert before.keys() == after.keys() and any(not torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(
    "wrong, said",
    (
        ({"data": "../models"}, "lies outside of"),
        ({"data": "/etc"}, "lies outside of"),
        ({"data": "folders:../../x"}, "`data` names"),
        ({"data": " "}, "`data` is empty"),
        ({"data": "no such folder"}, "which is not in"),
        ({"name": "../outside"}, "cannot be a file's name in models/loras"),
        ({"name": "/tmp/outside"}, "cannot be a file's name in models/loras"),
        ({"rate": 0.0}, "needs to be above 0"),
    ),
)
def test_what_leaves_the_folders_is_refused_before_the_queue_starts(live, sets, wrong, said):
    with pytest.raises(client.Refused, match=said):
        live.client.run(graph("refused", 1, **wrong))


def test_a_lora_that_was_not_trained_here_stays_as_it_is(live, sets):
    path = live.base / "models" / "loras" / "mine.safetensors"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"mine")
    with pytest.raises(client.NodeFailed, match="was not trained here"):
        live.client.run(graph("mine", 1))
    assert path.read_bytes() == b"mine"


def test_a_model_with_a_lora_on_it_is_refused_in_a_sentence(live, sets):
    live.client.run(graph("toys", 4))
    twice = graph("twice", 1)
    twice["lora"] = node("LoraLoaderModelOnly", model=link("model"), lora_name="toys.safetensors", strength_model=1.0)
    twice["train"]["inputs"]["model"] = link("lora")
    with pytest.raises(client.NodeFailed, match="straight to Load Checkpoint"):
        live.client.run(twice)
