"""The protocol's cases, tables and page, and pictures that are made once and whole; with a server in place of a ComfyUI's."""

import argparse
import hashlib
import io
import json
import re
from pathlib import Path

import pytest
from PIL import Image
from same_subject.dev.setup.errors import SetupError
from same_subject.research import dreambench, servers
from same_subject.research.bench import graphs, making, page, plan, protocol, scoring_files, tables

SETTINGS = graphs.Settings("jedi", "a.safetensors", False, 64, 4, 3.0, 2.0, "ddim", "normal")


def folder(path, **pictures):
    """A folder of subjects with so many pictures each."""
    for number, (name, count) in enumerate(pictures.items()):
        (path / name).mkdir(parents=True)
        for place in range(count):
            Image.new("RGB", (8, 8), (number * 9, place * 9, 0)).save(path / name / f"{place:02}.png")
    return path


def png(colour="red"):
    data = io.BytesIO()
    Image.new("RGB", (4, 4), colour).save(data, "PNG")
    return data.getvalue()


def test_the_protocol_is_that_of_the_papers():
    assert len(protocol.CLASSES) == 21 and len(protocol.LIVE) == 9 and len(protocol.every_prompt()) == 750
    assert len(set(protocol.prompts(False))) == len(set(protocol.prompts(True))) == 25
    assert len(set(protocol.PAIRS)) == 30
    kinds = [{name in protocol.LIVE for name in pair.split("-")} for pair in protocol.PAIRS]
    assert kinds == [{False}] * 21 + [{True}] * 9
    assert all(name in protocol.CLASSES or name in protocol.LIVE for pair in protocol.PAIRS for name in pair.split("-"))


def test_one_input_is_each_picture_in_turn_and_three_are_drawn(tmp_path):
    subjects = plan.read(folder(tmp_path / "dataset", dog=5, can=4).parent)
    every = plan.cases(subjects, plan.Wanted())
    assert len(every) == (5 + 4) * 25 * 4 and len({case.name for case in every}) == len(every)
    assert {case.inputs for case in every if case.subjects[0].name == "dog"} == {((place,),) for place in range(5)}
    assert every[0].prompt == "a can in the jungle" and "a dog wearing a red hat" in {case.prompt for case in every}
    assert len({case.seed for case in every}) == len(every), "no two pictures have the same noise"
    three = plan.cases(subjects, plan.Wanted(inputs=3))
    assert len(three) == 2 * 25 * 4 and {len(case.inputs[0]) for case in three} == {3}
    assert three == plan.cases(subjects, plan.Wanted(inputs=3)), "the same ones the next time"
    assert {case.inputs for case in three} != {case.inputs for case in plan.cases(subjects, plan.Wanted(inputs=3, seed=1))}
    one = plan.cases(subjects, plan.Wanted(all_choices=False))
    assert len(one) == 2 * 25 * 4 and {len(case.inputs[0]) for case in one} == {1}


def test_two_subjects_are_shown_and_named_together(tmp_path):
    names = {name: 1 for pair in protocol.PAIRS for name in pair.split("-")}
    pairs = plan.cases(plan.read(folder(tmp_path / "all", **names)), plan.Wanted(plan.PAIRS, pictures=6))
    assert len(pairs) == 30 * 25 * 6 and pairs[0].prompt == "a backpack and a can in the jungle"
    assert pairs[0].name == "backpack-can/1_1/01-1"
    others = plan.read(folder(tmp_path / "some", dog=1, cat=1, can=1))
    assert {case.name.split("/")[0] for case in plan.cases(others, plan.Wanted(plan.PAIRS))} == {"cat-dog"}
    (tmp_path / "pairs.txt").write_text("dog-can\n")
    assert {c.name[:7] for c in plan.cases(others, plan.Wanted(plan.PAIRS), pairs=tmp_path / "pairs.txt")} == {"dog-can"}
    (tmp_path / "pairs.txt").write_text("dog-cow\n")
    with pytest.raises(SetupError, match="a pair names cow, but the subjects are can, cat, dog"):
        plan.cases(others, plan.Wanted(plan.PAIRS), pairs=tmp_path / "pairs.txt")


def test_folders_of_ones_own_say_their_classes_and_prompts(tmp_path):
    place = folder(tmp_path / "mine", rex=2)
    with pytest.raises(SetupError, match="rex is none of DreamBooth's subjects.*subjects.json"):
        plan.read(place)
    (place / "subjects.json").write_text(json.dumps({"rex": {"class": "ball", "live": False}}))
    (place / "rex" / "01.txt").write_text("a ball at night")
    (subject,) = plan.read(place)
    assert subject.word == "ball" and subject.captions == ("a ball", "a ball at night")
    (place / "rex" / "00.txt").write_bytes("a café".encode("cp1252"))
    with pytest.raises(SetupError, match="the caption of .*00.png: its text cannot be read.*Mend it"):
        plan.read(place)
    (place / "rex" / "00.txt").unlink()
    (place / "prompts.txt").write_text("a {} in the snow\n\nmany\n")
    with pytest.raises(SetupError, match="line 2 has not one {} in place of the class"):
        plan.prompts_of(place)
    (place / "prompts.txt").write_text("a {} in the snow\n")
    own = plan.prompts_of(place)
    assert {case.prompt for case in plan.cases([subject], plan.Wanted(), own)} == {"a ball in the snow"}
    before = plan.fingerprint([subject], own)
    Image.new("RGB", (8, 8), "white").save(place / "rex" / "00.png")
    assert len({before, plan.fingerprint([subject], own), plan.fingerprint([subject], None)}) == 3


def test_a_missing_data_set_is_said_with_its_licence(tmp_path):
    for people, licence in ((False, "CC BY 4.0.*git clone https://github.com/google/dreambooth"), (True, "of people who agreed")):
        with pytest.raises(SetupError, match=f"is not there. .*{licence}"):
            plan.read(tmp_path / "dreambooth", people)
    with pytest.raises(SetupError, match="holds no folder with pictures"):
        plan.read(tmp_path)


def test_pictures_are_made_once_and_what_failed_is_said(tmp_path, monkeypatch):
    cases = plan.cases(plan.read(folder(tmp_path / "data", can=1)), plan.Wanted(pictures=1, most_prompts=3))
    asked = []

    class Pool:
        def __init__(self, *_):
            pass

        def run(self, items):
            for name, _ in items:
                asked.append(name)
                images = {} if name.endswith("03-1") else {graphs.PICTURE: [png()]}
                yield servers.Done(name, files=images, failure="" if images else "the sampler is out of memory")

        def report(self):
            return ""

    monkeypatch.setattr(servers, "Pool", Pool)
    monkeypatch.setattr(making, "upload", lambda cases, urls, say: {str(cases[0].subjects[0].pictures[0]): "can.png"})
    out = tmp_path / "out"
    (out / "can/1").mkdir(parents=True)
    (out / "can/1/01-1.png").write_bytes(png("blue"))
    failed = making.make(cases, SETTINGS, out, ["http://one"], say=str)
    assert asked == ["can/1/02-1", "can/1/03-1"] and failed == ["can/1/03-1: the sampler is out of memory"]
    assert (out / "can/1/02-1.png").read_bytes() == png() and (out / "can/1/01-1.png").read_bytes() == png("blue")
    asked.clear()
    making.make(cases, SETTINGS, out, ["http://one"], say=str)
    assert asked == ["can/1/03-1"]


def test_a_model_is_shown_what_its_pictures_are_scored_against(tmp_path, monkeypatch):
    """A server's LoadImage leaves out alpha, and with it what stands for transparent pixels."""
    place, sent = folder(tmp_path, can=2) / "can", {}
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(place / "00.png")

    class Client:
        def __init__(self, url):
            pass

        def upload(self, path, name=None):
            sent[name or Path(path).name] = Path(path).read_bytes()

    monkeypatch.setattr(making.client, "Client", Client)
    cases = plan.cases(plan.read(tmp_path), plan.Wanted(pictures=1, most_prompts=1))
    names = making.upload(cases, ["http://one"])
    given = {Path(path).name: sent[name] for path, name in names.items()}
    with Image.open(io.BytesIO(given["00.png"])) as shown:
        assert shown.mode == "RGB" and shown.getpixel((3, 3)) == (255, 255, 255)
    assert given["01.png"] == (place / "01.png").read_bytes()
    assert all(hashlib.sha256(data).hexdigest()[:20] in name for name, data in sent.items())
    (place / "01.png").write_bytes(png()[:40])
    with pytest.raises(SetupError, match="can/01.png cannot be used: .*Take it out"):
        making.upload(cases, ["http://one"])


def test_scores_are_kept_and_a_line_that_was_cut_off_is_made_again(tmp_path):
    file = tmp_path / "scores.jsonl"
    first, second = plan.cases(plan.read(folder(tmp_path / "data", can=1)), plan.Wanted(pictures=2, most_prompts=1))
    scoring_files.keep(file, first.name, {"dino": 0.5, "mdino": None})
    scoring_files.keep(file, second.name, {"dino": 0.75})
    file.write_bytes(file.read_bytes()[:-3])
    assert scoring_files.kept(file) == {first.name: {"dino": 0.5, "mdino": None}}
    scoring_files.keep(file, second.name, {"dino": 0.25})
    assert scoring_files.kept(file) == {first.name: {"dino": 0.5, "mdino": None}, second.name: {"dino": 0.25}}


def test_the_table_has_every_subject_with_the_same_weight_beside_the_published_rows(tmp_path):
    cases = plan.cases(plan.read(folder(tmp_path, can=1, dog=2)), plan.Wanted(pictures=1, most_prompts=1))
    scores = {"can/1/01-1": {"dino": 0.2, "mdino": None}, "dog/1/01-1": {"dino": 0.6}, "dog/2/01-1": {"dino": 0.8, "mdino": 0.9}}
    real = {"can": {}, "dog": {"dino": 0.7}}
    text = tables.table("JeDi, table 2", protocol.TABLE_2, "mine", tables.by_subject(cases, scores), real)
    assert "JeDi (1 input)                         0.3040   0.7818   0.8764   0.6190   0.7510" in text
    assert re.search(r"^mine +- +- +- +0\.4500 +0\.9000$", text, re.M), "(0.2 + (0.6 + 0.8) / 2) / 2"
    assert re.search(r"^  \+- over 2 subjects +- +- +- +0\.2500 +0\.0000$", text, re.M)
    assert re.search(r"^your real pictures, with each other +- +- +- +0\.7000 +-$", text, re.M)
    assert tables.left_out(cases, scores).startswith("2 of 3 pictures, in which the subject was not found")


def test_the_page_shows_inputs_and_pictures_and_holds_no_markup_of_others(tmp_path):
    data = folder(tmp_path / "data", can=1)
    (data / "subjects.json").write_text(json.dumps({"can": {"class": "<script>alert(1)</script>"}}))
    cases = plan.cases(plan.read(data), plan.Wanted(pictures=1, most_prompts=2))
    making.save(tmp_path / "out" / "pictures" / f"{cases[0].name}.png", png())
    made = tmp_path / "out" / "pictures"
    page.write(tmp_path / "out" / "index.html", "mine", "a table", cases, made, {cases[0].name: {"dino": 0.123, "clip_t": None}})
    text = (tmp_path / "out" / "index.html").read_text()
    assert "<script>" not in text and "&lt;script&gt;" in text and "DINO 0.123" in text and "not made" in text
    shown = re.findall(r'src="([^"]+)"', text)
    assert shown == ["../data/can/00.png", "pictures/can/1/01-1.png"]
    assert all((tmp_path / "out" / one).is_file() for one in shown)


def test_a_folder_of_results_is_not_mixed_with_other_settings(tmp_path):
    dreambench.begin(tmp_path, {"cfg": 3.0, "size": 64})
    dreambench.begin(tmp_path, {"cfg": 3.0, "size": 64})
    with pytest.raises(SetupError, match="holds pictures made with cfg = 3.0, not 5.0"):
        dreambench.begin(tmp_path, {"cfg": 5.0, "size": 64})


@pytest.mark.parametrize(
    "more",
    [
        ["--inputs", "0"],
        ["--method", "subject-diffusion"],
        ["--ray", "local"],
        ["--segmenter", __file__],
        ["--scores", "/nowhere"],
    ],
)
def test_options_that_do_not_fit_are_refused(more):
    with pytest.raises(SystemExit):
        dreambench.parse(["--checkpoint", "a", "--data", "b", *more])
    assert isinstance(dreambench.parse(["--checkpoint", "a", "--data", "b"]), argparse.Namespace)


def test_weights_are_known_by_what_they_are_and_by_the_servers_names(tmp_path):
    """A file that was trained on is another one; servers know files in folders of theirs, which is no path here."""
    (tmp_path / "joint.safetensors").write_bytes(b"before")
    given = ["--checkpoint", str(tmp_path / "joint.safetensors"), "--data", "b"]
    here = dreambench.parse(given)
    before = dreambench.hashes(here)
    (tmp_path / "joint.safetensors").write_bytes(b"trained")
    assert set(before) == {"checkpoint"} and dreambench.hashes(here) != before
    assert dreambench.settings_of(here).checkpoint == "joint.safetensors"
    there = dreambench.parse(
        ["--checkpoint", "sd15/joint.safetensors", "--data", "b", "--lora", "mine/a.safetensors", "--servers", "u"]
    )
    settings = dreambench.settings_of(there)
    assert (settings.checkpoint, settings.lora) == ("sd15/joint.safetensors", "mine/a.safetensors")
    assert dreambench.hashes(there) == {}
