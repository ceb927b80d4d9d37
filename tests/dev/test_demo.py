"""The demo command: what it refuses, the graph it sends, the pictures it draws."""

import argparse
import copy
import io
import json
import os
import struct
from pathlib import Path

import pytest
from same_subject.dev import client, demo, server
from same_subject.dev import host as hosts
from same_subject.dev.showing import checkpoints, graphs, pictures, reports

GRAPH = {
    "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "some.safetensors"}},
    "2": {"class_type": "LoadImage", "inputs": {"image": "own_1.png"}},
    "3": {"class_type": "LoadImage", "inputs": {"image": "own_2.png"}},
    "4": {"class_type": "JediReferences", "inputs": {"images.image0": ["2", 0], "images.image1": ["3", 0],
                                                     "captions": "one\ntwo"}},
    "5": {"class_type": "JediJointSet", "inputs": {"prompts": "a\nb", "pictures": 4, "width": 0, "height": 0,
                                                   "reference_seed": 0, "references": ["4", 0]}},
    "6": {"class_type": "KSampler", "inputs": {"seed": 1, "steps": 20}},
}  # fmt: skip
SHIPPED = {
    **{name: node for name, node in GRAPH.items() if name in "56"},
    "1": {"class_type": "JediDemoLoader", "inputs": {"file": "demo.safetensors"}},
    "2": {"class_type": "ImageFromBatch", "inputs": {"image": ["1", 3], "batch_index": 1, "length": 1}},
    "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}},
    "4": {"class_type": "JediReferences", "inputs": {"images.image0": ["2", 0], "captions": "one"}},
    "7": {"class_type": "VAEDecode", "inputs": {"samples": ["6", 0], "vae": ["1", 2]}},
}
"""As the demo's graph: its reference comes out of the pictures that ship with the pack."""


def safetensors(path, shapes, cut=0):
    """A file with a safetensors header for these shapes, its data cut short by some bytes."""
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [end, end + 8]}
        end += 8
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * (end - cut))
    return path


def checkpoint(path, width, **more):
    unet = "model.diffusion_model."
    return safetensors(
        path,
        {
            f"{unet}input_blocks.0.0.weight": (320, 4, 3, 3),
            f"{unet}input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight": (640, width),
            f"{unet}middle_block.1.transformer_blocks.0.attn2.to_k.weight": (1280, width),
        },
        **more,
    )


# -- checkpoints ----------------------------------------------------------------------------------


@pytest.mark.parametrize("width, family", [(768, "sd15"), (1024, "sd2"), (2048, "sdxl")])
def test_the_family_is_read_from_the_header(tmp_path, width, family):
    assert checkpoints.family_of(checkpoint(tmp_path / "a.safetensors", width)) == family


@pytest.mark.parametrize("shapes", [{"lora_up.weight": (4, 4)}, {"model.diffusion_model.x.attn2.to_k.weight": (8, 1280)}])
def test_a_file_that_is_no_full_checkpoint_is_refused(tmp_path, shapes):
    with pytest.raises(hosts.SetupError, match="is no full Stable Diffusion 1.5, 2 or XL checkpoint"):
        checkpoints.family_of(safetensors(tmp_path / "a.safetensors", shapes))


def test_a_truncated_checkpoint_is_refused(tmp_path):
    with pytest.raises(hosts.SetupError, match="the download was cut short, repeat it"):
        checkpoints.family_of(checkpoint(tmp_path / "a.safetensors", 768, cut=3))


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", struct.pack("<Q", 5) + b"[1,2]", b"\xff" * 64])
def test_what_is_no_safetensors_file_is_refused(tmp_path, content):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(hosts.SetupError, match="is not a safetensors file, or is damaged"):
        checkpoints.family_of(path)


# -- the command line -----------------------------------------------------------------------------


def refusal(*arguments):
    with pytest.raises(hosts.SetupError) as caught:
        demo.check(demo.parse([str(argument) for argument in arguments]))
    return str(caught.value)


def test_what_cannot_work_is_refused_before_set_up(tmp_path):
    picture = png(tmp_path / "a.png")
    model = checkpoint(tmp_path / "a.safetensors", 768)
    assert "there is no such file" in refusal("--reference", tmp_path / "none.png")
    assert "there is no such file" in refusal("--checkpoint", tmp_path / "none", "--reference", picture)
    assert "needs --reference" in refusal("--checkpoint", model)
    assert "2 captions for 1 references" in refusal("--reference", picture, "--caption", "a", "b")
    assert "give a multiple of 8" in refusal("--size", 100)
    assert "--scene is a demo of its own" in refusal("--scene", "--prompt", "a mug")
    assert "--subjects is a demo of its own" in refusal("--subjects", "--size", 64)
    assert "is a demo of its own" in refusal("--subjects", "--scene")
    assert "give a number from 0" in refusal("--seed", -1)
    demo.check(demo.parse(["--checkpoint", str(model), "--reference", str(picture), "--prompt", "a dog"]))


def png(path):
    """A file that begins as a PNG does; set-up comes before what could look further."""
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 64)
    return path


def test_a_picture_that_is_none_is_refused_before_set_up(tmp_path):
    for name, content in {"page.png": b"<!DOCTYPE html><html>", "empty.jpg": b"", "archive.png": b"PK\3\4" + b"\0" * 60}.items():
        (tmp_path / name).write_bytes(content)
        assert f"--reference {tmp_path / name} is no picture" in refusal("--reference", tmp_path / name)
    assert "there is no such file" in refusal("--reference", tmp_path)
    for start in (b"\xff\xd8\xff\xe0", b"GIF89a", b"RIFF\0\0\0\0WEBP", b"BM", b"II*\0", b"\0\0\0\x20ftypavif"):
        (tmp_path / "other").write_bytes(start + b"\0" * 64)
        demo.check(demo.parse(["--reference", str(tmp_path / "other"), "--output", str(tmp_path / "out")]))


def test_numbers_and_texts_that_no_node_would_take_are_refused_before_set_up(tmp_path):
    picture = png(tmp_path / "a.png")
    for steps in (0, -1, 10001):
        assert f"--steps {steps}: give a number from 1 to 10000" in refusal("--steps", steps)
    assert "--size 8200: give a multiple of 8, from 64 to 8192" in refusal("--size", 8200)
    assert "17 references: give at most 16" in refusal(*["--reference", picture] * 17)
    assert "65 prompts: give at most 64" in refusal("--prompt", *["a mug"] * 65)
    assert "--prompt: a prompt is empty" in refusal("--prompt", "a mug", " ")
    assert "3 captions for 1 references" in refusal("--caption", "a", "b", "c"), "the demo's own pictures count, too"
    wrong = tmp_path / "model.zip"
    wrong.touch()
    assert "--checkpoint" in (said := refusal("--checkpoint", wrong, "--reference", picture)) and ".safetensors" in said


@pytest.mark.skipif(os.name == "nt", reason="links")
def test_a_folder_that_cannot_be_written_is_refused_before_set_up(tmp_path, monkeypatch):
    file = png(tmp_path / "file")
    assert "--output" in (said := refusal("--output", file)) and "is a file, give a folder" in said
    assert "cannot be made" in refusal("--output", file / "below")
    full = tmp_path / "full"
    full.symlink_to("/proc/self/fdinfo" if os.path.isdir("/proc/self/fdinfo") else "/dev")
    assert "cannot be written" in refusal("--output", full)
    demo.check(demo.parse(["--output", str(tmp_path / "new" / "folder")]))
    assert not (tmp_path / "new").exists(), "only looked at: a refusal leaves nothing behind"


def test_a_photo_without_a_checkpoint_is_resized_to_the_demo_models_size_and_one_line_says_so(tmp_path, capsys):
    picture = str(png(tmp_path / "a.png"))

    def size(family, *arguments):
        return demo.size_of(demo.parse(arguments), family)

    assert size("demo", "--reference", picture) == 64
    (line,) = capsys.readouterr().out.splitlines()
    assert "resized to 64x64" in line and "--checkpoint" in line
    assert size("demo", "--reference", picture, "--size", "128") == 128
    assert size("demo") is None and size("sd15", "--reference", picture) == 512 and size("sdxl", "--reference", picture) == 1024
    assert capsys.readouterr().out == ""


def test_references_and_prompts_may_be_repeated_or_listed():
    options = demo.parse(["--reference", "a.png", "b.png", "--reference", "c.png", "--prompt", "x", "--prompt", "y"])
    assert options.reference == [Path("a.png"), Path("b.png"), Path("c.png")]
    assert options.prompt == ["x", "y"]


# -- the graph ------------------------------------------------------------------------------------


def test_the_graph_gets_as_many_references_as_are_given():
    graph = graphs.fill_graph(GRAPH, references=["a.png", "b.png", "c.png"], captions=[])
    inputs = graph["4"]["inputs"]
    assert sorted(name for name in inputs if name.startswith("images")) == [f"images.image{i}" for i in range(3)]
    loaded = [graph[inputs[f"images.image{i}"][0]]["inputs"]["image"] for i in range(3)]
    assert loaded == ["a.png", "b.png", "c.png"] and inputs["captions"] == ""
    assert sum(node["class_type"] == "LoadImage" for node in graph.values()) == 3


def test_pictures_of_the_users_own_take_the_place_of_those_that_ship_with_the_pack():
    graph = graphs.fill_graph(SHIPPED, references=["a.png", "b.png"], captions=["a toy"])
    assert {"2", "3"} & set(graph) == set() and {"1", "7"} < set(graph)
    inputs = graph["4"]["inputs"]
    assert [graph[inputs[f"images.image{i}"][0]]["inputs"]["image"] for i in range(2)] == ["a.png", "b.png"]


def test_a_node_that_others_need_stays_when_references_are_replaced():
    graph = copy.deepcopy(SHIPPED)
    graph["4"]["inputs"]["images.image0"] = ["1", 3]
    graph["4"]["inputs"]["images.image1"] = ["2", 0]
    graph["8"] = {"class_type": "SaveImage", "inputs": {"images": ["2", 0]}}
    assert set(graphs.fill_graph(graph, references=["a.png"])) == {*graph, "900"}


def test_without_references_the_graph_keeps_those_that_ship_with_the_pack():
    assert graphs.fill_graph(SHIPPED) == SHIPPED


def test_the_pictures_that_the_graph_takes_are_known_by_their_files(tmp_path, monkeypatch):
    monkeypatch.setattr(graphs, "DEMO_PICTURES", tmp_path)
    for name in ("reference_1.png", "reference_2.png", "reference_3.png", "other.png"):
        (tmp_path / name).touch()

    def names(graph):
        return [path.name for path in graphs.pictures_in(graph)]

    assert names(SHIPPED) == ["reference_2.png"]
    graph = copy.deepcopy(SHIPPED)
    graph["2"]["inputs"] = {"image": ["1", 3], "batch_index": 0, "length": 2}
    assert names(graph) == ["reference_1.png", "reference_2.png"]
    graph["4"]["inputs"]["images.image0"] = ["1", 3]
    assert names(graph) == ["reference_1.png", "reference_2.png", "reference_3.png"]
    graph["2"] = {"class_type": "ExamplePictures", "inputs": {"pictures": "box in all three places"}}
    graph["4"]["inputs"]["images.image0"] = ["2", 0]
    assert names(graph) == ["reference_1.png", "reference_2.png", "reference_3.png"]
    graph["2"]["inputs"]["pictures"] = "star under the sea"
    assert names(graph) == ["toy_2.png"]


def test_values_that_are_not_given_stay_and_the_graph_itself_is_not_changed():
    before = copy.deepcopy(GRAPH)
    graph = graphs.fill_graph(GRAPH, references=["a.png", "b.png"])
    assert before == GRAPH
    assert graph["5"] == GRAPH["5"] and graph["6"] == GRAPH["6"] and graph["1"] == GRAPH["1"]
    assert graph["4"]["inputs"]["captions"] == "one\ntwo"


def test_values_that_are_given_reach_their_nodes():
    graph = graphs.fill_graph(
        GRAPH, ["a.png"], ["a\ntoy"], ["x", "y", "z"], seed=7, steps=3, size=1024, checkpoint="mine.safetensors"
    )
    assert graph["1"]["inputs"]["ckpt_name"] == "mine.safetensors"
    assert graph["4"]["inputs"]["captions"] == "a toy"
    assert graph["5"]["inputs"] == {**GRAPH["5"]["inputs"], "prompts": "x\ny\nz", "pictures": 0, "width": 1024,
                                    "height": 1024, "reference_seed": 7}  # fmt: skip
    assert graph["6"]["inputs"] == {"seed": 7, "steps": 3}


@pytest.mark.parametrize("given", [["a"], ["a", "b"], ["a\nlong one", "b"]])
def test_the_node_reads_the_prompts_that_were_given(given):
    pytest.importorskip("torch")
    from same_subject.nodes.joint import prompts

    assert prompts.split_prompts(graphs.join_prompts(given)) == given


# -- pictures -------------------------------------------------------------------------------------


def test_the_contact_sheet_shows_every_picture_whatever_its_shape(tmp_path):
    Image = pytest.importorskip("PIL.Image")
    sizes = [(128, 128), (64, 200), (900, 300), (16, 16), (256, 256)]
    paths = []
    for number, size in enumerate(sizes):
        paths.append(tmp_path / f"{number}.png")
        Image.new("RGB", size, (200, 0, 0)).save(paths[-1])
    sheet = tmp_path / "sheet.png"
    captions = ["a " * 60, "", "short", "x", "y"]
    pictures.draw_contact_sheet(sheet, [("References", paths[:1], captions[:1]), ("Generated", paths, captions)])
    with Image.open(sheet) as picture:
        red = sum(count for count, colour in picture.getcolors(2**24) if colour == (200, 0, 0))
        assert picture.width == 16 + 4 * (256 + 16)
    whole = 2 * 256 * 256  # the first picture stands in both rows, twice as large
    assert red == whole + 64 * 200 + 256 * 85 + 256 * 256 + 256 * 256


def test_a_file_that_is_no_picture_is_refused(tmp_path):
    pytest.importorskip("PIL")
    path = tmp_path / "a.png"
    path.write_bytes(b"not a picture")
    with pytest.raises(hosts.SetupError, match="cannot be read as a picture"):
        pictures.check_pictures([path])


# -- the server's answers -------------------------------------------------------------------------


def test_a_refused_graph_becomes_a_message_with_node_and_input():
    error = {"type": "value_smaller_than_min", "message": "Value -1 smaller than min of 1", "details": "width"}
    refused = client.answer_error(
        "/prompt", 400, json.dumps({"error": {}, "node_errors": {"7": {"class_type": "X", "errors": [error]}}}).encode()
    )
    assert isinstance(refused, client.Refused)
    assert str(refused) == "X (node 7): Value -1 smaller than min of 1: width"
    assert "404" in str(client.answer_error("/view", 404, b"gone"))


def test_a_graph_that_the_server_takes_in_part_counts_as_refused(monkeypatch):
    """It runs the outputs that it can, here a preview, and says what it left out in an answer of success."""
    error = {
        "type": "custom_validation_failed",
        "message": "Custom validation failed for node",
        "details": "prompts - Joint Set: x",
    }
    answer = {"prompt_id": "p", "number": 1, "node_errors": {"4": {"class_type": "JediJointSet", "errors": [error]}}}
    asked = []

    def request(self, path, body=None, headers=None):
        asked.append((path, json.loads(body)))
        return answer if path == "/prompt" else None

    monkeypatch.setattr(client.Client, "request", request)
    with pytest.raises(client.Refused, match=r"JediJointSet \(node 4\): .*Joint Set: x"):
        client.Client("http://127.0.0.1:1").queue({})
    assert asked[-1] == ("/queue", {"delete": ["p"]}), "and the rest is not painted"
    answer["node_errors"] = {}
    assert client.Client("http://127.0.0.1:1").queue({}) == "p"


def test_a_link_to_the_pack_is_removed_without_touching_the_pack(tmp_path):
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "file").touch()
    server.link_folder(tmp_path / "pack", tmp_path / "link")
    assert (tmp_path / "link" / "file").exists()
    server.unlink_folder(tmp_path / "link")
    assert not (tmp_path / "link").exists() and (tmp_path / "pack" / "file").exists()


# -- while and after a run ------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self):
        return True


def steps_shown(stream):
    """What is printed while one node runs at once and another takes 40 steps."""
    pytest.importorskip("tqdm")
    from same_subject.dev.showing.steps import StepPrinter

    graph = {"1": {"class_type": "VAEDecode"}, "2": {"class_type": "KSampler", "_meta": {"title": "The scene"}}}
    with StepPrinter(graph, stream) as steps:
        steps("executing", {"node": "1"})
        steps("progress", {"node": "1", "value": 1, "max": 1})
        steps("executing", {"node": "2"})
        for step in range(1, 41):
            steps("progress", {"node": "2.0.1", "value": step, "max": 40})
        steps("executing", {"node": None})
    return stream.getvalue()


def test_away_from_a_terminal_there_is_a_line_for_each_tenth_of_the_steps():
    lines = steps_shown(io.StringIO()).splitlines()
    assert lines[:3] == ["  VAEDecode", "  The scene", "  The scene: step 1 of 40"]
    assert lines[3:] == [f"  The scene: step {step} of 40" for step in range(4, 41, 4)]


def test_on_a_terminal_one_line_moves_through_every_step():
    shown = steps_shown(Terminal())
    assert shown.count("\n") == 1 and shown.endswith("\n")
    states = [state.strip() for state in shown.split("\r")]
    assert "VAEDecode" in states
    assert all(any(state.startswith(f"The scene: step {step} of 40 |") for state in states) for step in range(1, 41))


def test_the_report_names_the_prompts_as_the_node_splits_them(tmp_path):
    pytest.importorskip("torch")
    Image = pytest.importorskip("PIL.Image")
    files = [tmp_path / f"{number}.png" for number in range(3)]
    for path in files:
        Image.new("RGB", (8, 8)).save(path)
    graph = copy.deepcopy(GRAPH)
    graph["5"]["inputs"]["prompts"] = "a\n---\n\n---\nb"
    options = argparse.Namespace(output=tmp_path, checkpoint=None)
    host = hosts.Host(tmp_path, Path("python"), private=False)
    reports.write_results(host, options, graph, files[:2], files, started=0.0, run_seconds=1.0)
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["prompts"] == ["a", "", "b"] and report["captions"] == ["one", "two"]
