"""Subjects in their places on the live server: the shipped graphs run, places act, and wrong inputs are refused by name."""

import numpy
import pytest
from same_subject.dev import client
from same_subject.dev.showing import graphs as demo_graphs
from same_subject.dev.showing import subjects as showing
from same_subject.tests.server import checkpoints, graphs
from same_subject.tests.server.graphs import changed, link, node, without
from same_subject.tests.tiny import subject_adapter_files

STEPS = 2


@pytest.fixture(scope="module")
def shipped():
    """One toy and two, as dev/demo.py --subjects has them, in few steps."""
    one, two, *_ = (each.graph for each in showing.showings(seed=1, steps=STEPS))
    return one, two


def saved(graph, class_type="SaveImage"):
    (name,) = [name for name, each in graph.items() if each["class_type"] == class_type]
    return name


def of(graph, class_type):
    """The name of the one node of a class, or of the last in a chain."""
    return [name for name, each in graph.items() if each["class_type"] == class_type][-1]


def run(live, graph):
    """(pictures, outputs, names of the nodes that ran)"""
    ran = []
    outputs = live.client.run(graph, lambda kind, data: ran.append(data.get("node")) if kind == "executing" else None)
    return [graphs.open_picture(live, entry) for entry in outputs[saved(graph)]["images"]], outputs, ran


def far(one, two):
    """Mean distance of two pictures, in 0 to 255."""
    return float(numpy.abs(numpy.asarray(one, float) - numpy.asarray(two, float)).mean())


def test_the_shipped_graph_paints_one_and_two_subjects_and_shows_what_it_cut_out(live, shipped):
    for graph, size in zip(shipped, ((256, 256), (512, 256)), strict=True):
        (picture,), outputs, _ = run(live, graph)
        assert picture.size == size and len(picture.getcolors(1 << 18)) > 100
        subjects = [name for name, each in graph.items() if each["class_type"] == "SubjectPicture"]
        cut_out = [graphs.open_picture(live, outputs[name]["images"][0]) for name in subjects]
        assert all(one.width == one.height and one.getpixel((0, 0)) == (255, 255, 255) for one in cut_out)
        (plain,), *_ = run(live, changed(graph, of(graph, "SubjectApply"), interpolation=1.0))
        assert far(picture, plain) > 3, "subjects change the picture"


def test_a_second_run_loads_and_encodes_nothing_again(live, shipped):
    _, two = shipped
    run(live, two)
    _, _, ran = run(live, changed(two, of(two, "KSampler"), seed=2))
    assert {two[name]["class_type"] for name in ran if name} == {"KSampler", "VAEDecode", "ImageScaleBy", "SaveImage"}


def test_a_subject_goes_where_each_kind_of_place_says(live, shipped):
    one, _ = shipped
    subject = of(one, "SubjectPicture")
    tools = {"tools": node("DemoToolsLoader", file="scenes.safetensors")}
    tools["base"] = node("ExamplePictures", pictures="box in a meadow", size="64")
    find = node(
        "ConceptFind", detector=link("tools", 2), image=link("base"), phrases="box", order="best score", index=0,
        box_threshold=0.2, text_threshold=0.2, if_missing="error", x=0, y=0, duplicates=0.7,
    )  # fmt: skip
    white = {**one, "white": node("SolidMask", value=1.0, width=8, height=8)}
    kinds = {
        "box": one,
        "another box": changed(one, subject, x=0.0, y=0.0, width=0.5, height=0.5),
        "mask": changed(white, subject, place="mask", where=link("white")),
        "found": changed({**one, **tools, "find": find}, subject, place="found", boxes=link("find"), concept=1),
        "its own picture": changed(one, subject, place="its own picture"),
        "anywhere": changed(one, subject, place="anywhere", place_seed=5),
        "anywhere else": changed(one, subject, place="anywhere", place_seed=6),
    }
    painted = {kind: run(live, graph)[0][0] for kind, graph in kinds.items()}
    assert len({picture.tobytes() for picture in painted.values()}) == len(kinds)


def without_second(two):
    """The prompt is of the first subject alone, the model has both."""
    last = of(two, "SubjectPicture")
    return changed(two, of(two, "SubjectPrompt"), subjects=two[last]["inputs"]["previous"])


@pytest.fixture
def other_adapter(live):
    path = live.base / "models" / "subject_adapters" / "other base.safetensors"
    yield subject_adapter_files.save(path).name
    path.unlink()


def test_wrong_subjects_come_back_by_name_with_the_remedy_and_the_server_goes_on(live, shipped, other_adapter):
    one, two = shipped
    subject, apply, adapter, prompt = (
        of(one, kind) for kind in ("SubjectPicture", "SubjectApply", "SubjectAdapterLoader", "SubjectPrompt")
    )
    last = of(two, "SubjectPicture")
    first = two[last]["inputs"]["previous"][0]
    place = {name: two[first]["inputs"][name] for name in ("x", "y", "width", "height")}
    black = {**one, "black": node("SolidMask", value=0.0, width=64, height=64)}
    small = {**one, "small": node("SolidMask", value=1.0, width=64, height=32)}
    small["half"] = node("MaskComposite", destination=link("small"), source=link("small"), x=0, y=16, operation="subtract")
    wrong = {
        "Subject: its mask is empty": changed(black, subject, mask=link("black")),
        "Subject: `mask` has the shape 1 x 32 x 64": changed(small, subject, mask=link("half")),
        "Apply Subjects: the boxes of subjects 1 and 2 cover each other": changed(two, last, **place),
        "Apply Subjects: the adapter is for a small sd15": without(changed(one, adapter, file=other_adapter), adapter, "clip"),
        "Apply Subjects: the positive conditioning has other subjects in its text": without_second(two),
        "Apply Subjects: the positive conditioning has no subjects in its text": without(one, prompt, "subjects"),
        "has no plain text": changed(without(one, adapter, "clip"), apply, interpolation=0.5),
        "Subject Prompt: the text has the word `sks`": changed(one, prompt, text="a photo of a sks"),
        "which needs `where`. Connect it": changed(one, subject, place="mask"),
    }
    for message, graph in wrong.items():
        with pytest.raises(client.NodeFailed) as caught:
            live.client.run(graph)
        assert message in " ".join(str(caught.value).split()), caught.value
    refused = {
        "Subject: the box goes from 0.8, 0.25 to 1.4, 0.9": changed(one, subject, x=0.8),
        "Subject: `class_name` is empty, but needs a word": changed(one, subject, class_name=" "),
        "needs to be `box`, `mask`, `found`, `its own picture` or `anywhere`": changed(one, subject, place="there"),
        "have published no weights": changed(one, adapter, file="gone.safetensors"),
        "Required input is missing": without(one, apply, "subjects"),
    }
    for message, graph in refused.items():
        with pytest.raises(client.Refused) as caught:
            live.client.run(graph)
        assert " ".join(str(caught.value).split()).count(message) == 1, caught.value
    assert len(run(live, one)[0]) == 1


@pytest.fixture
def stable_diffusion_2(live):
    """Its checkpoint, OpenCLIP's image encoder, an adapter and two cut-out pictures under the names of the shipped graph."""
    from PIL import Image

    models = live.base / "models"
    (models / "clip_vision").mkdir(exist_ok=True)
    made = [
        checkpoints.save_sd2(models / "checkpoints" / "512-base-ema.safetensors"),
        checkpoints.save_vit_h(models / "clip_vision" / "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors"),
        checkpoints.save_subject_adapter(models / "subject_adapters" / "my_subjects_sd2.safetensors"),
    ]
    for number, name in enumerate(("first", "second")):
        cut_out = Image.new("RGBA", (90, 60))
        cut_out.paste(("red", "green")[number], (20, 10, 60, 50))
        cut_out.save(live.base / "input" / f"{name}_subject.png")
    yield
    for path in made:
        path.unlink()


def test_a_stable_diffusion_2_checkpoint_paints_through_the_stock_loaders(live, stable_diffusion_2):
    graph = demo_graphs.read_graph("Subjects Where You Want Them - SD 2")
    graph = changed(changed(graph, of(graph, "KSampler"), steps=1), of(graph, "EmptyLatentImage"), width=64, height=64)
    (picture,), outputs, _ = run(live, graph)
    assert picture.size == (64, 64) and len(picture.getcolors(1 << 18)) > 10
    cut_out = graphs.open_picture(live, outputs["6"]["images"][0])
    assert cut_out.size == (160, 160) and cut_out.getcolors() == [(160 * 160, (255, 0, 0))], "red alone, four times as large"
