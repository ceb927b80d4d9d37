"""research/dreambench.py on drawn toys: made on a live server, scored with tiny networks, stopped and gone on with."""

import importlib.util
import json
import os
import signal
import sys
import threading
from pathlib import Path

import pytest
import torch
from same_subject.dev import host as hosts
from same_subject.dev import pack, server
from same_subject.nodes.data import pictures as reading
from same_subject.research import dreambench, world
from same_subject.tests.server.test_synthesis import kill_at_work

TOYS = {"bella": 0, "carla": 3}
"""Shapes of the subjects: a ball and a heart."""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two toys with two pictures each, as DreamBooth's folder is laid out."""
    folder, generator = tmp_path_factory.mktemp("toys"), torch.Generator().manual_seed(3)
    for name, shape in TOYS.items():
        toy, scenes = world.draw_subjects(1, generator, shape), torch.tensor([1, 4])
        pictures, _ = world.draw(toy[torch.zeros(2, dtype=torch.long)], world.draw_poses(2, generator), scenes, generator)
        (folder / name).mkdir()
        for number, picture in enumerate(pictures):
            reading.as_picture(picture.movedim(0, -1)).save(folder / name / f"{number:02}.png")
            (folder / name / f"{number:02}.txt").write_text(world.caption(shape, int(scenes[number])))
    (folder / "subjects.json").write_text(json.dumps({name: {"class": world.SHAPES[shape]} for name, shape in TOYS.items()}))
    (folder / "prompts.txt").write_text("a photo of a {} on the beach\na photo of a {} at night\n")
    return folder


def run(live, data, output, *more):
    given = ["--checkpoint", "demo", "--data", str(data), "--output", str(output), "--servers", live.client.url, "--steps", "4"]
    given += ["--scores", str(live.base / "models" / "scores"), "--detector", str(pack.ROOT / "demo" / "scenes.safetensors")]
    host = hosts.Host(Path(os.environ["COMFYUI_PATH"]), Path(sys.executable), False)
    return dreambench.run(dreambench.parse([*given, *more]), host)


def test_the_protocol_runs_and_goes_on_where_it_was(live, data, tmp_path, capsys):
    assert run(live, data, tmp_path, "--pictures", "1") == 0
    said = capsys.readouterr().out
    pictures = {path: path.read_bytes() for path in (tmp_path / "pictures").rglob("*.png")}
    assert len(pictures) == 2 * 2 * 2 and len(set(pictures.values())) == 8, "toys, inputs, prompts; all different"
    assert "JeDi (1 input)                         0.3040   0.7818" in said and "+- over 2 subjects" in said
    (ours,) = [line.split()[-5:] for line in said.splitlines() if line.startswith("demo (jedi, 1 input)")]
    assert all(-1 <= float(value) <= 1 for value in ours)
    (copied,) = [line.split()[-5:] for line in said.splitlines() if line.startswith("your real pictures")]
    assert copied[0] == "-" and all(0 < float(value) < 1 for value in copied[1:])
    assert (tmp_path / "index.html").read_text().count("<img") == 4 + 8
    (scores,) = tmp_path.glob("scores-*.jsonl")
    before = scores.read_text()
    lost = sorted(pictures)[3]
    lost.unlink()
    scores.write_text(before[: before.rindex("\n", 0, -1) + 5])
    assert run(live, data, tmp_path, "--pictures", "1") == 0
    assert "7 of 8 pictures are there, 1 are to be made" in capsys.readouterr().out
    assert lost.read_bytes() == pictures[lost] and scores.read_text() == before
    assert (tmp_path / "table.txt").read_text().strip() in said
    with pytest.raises(hosts.SetupError, match="holds pictures made with cfg = 3.0, not 9.0"):
        run(live, data, tmp_path, "--cfg", "9")


def test_a_subject_in_its_picture_scores_above_one_that_is_not(live, data, tmp_path):
    """A picture of the subject itself in the place of one that was made: 1 with one input, and more than another's."""
    more = ("--pictures", "1", "--prompts", "1", "--choice", "one", "--compare", "inputs")
    run(live, data, tmp_path, *more)
    made = sorted((tmp_path / "pictures").rglob("*.png"))
    for path in made:
        name, number = path.parts[-3], int(path.parts[-2]) - 1
        path.write_bytes((data / name / f"{number:02}.png").read_bytes())
    for scores in tmp_path.glob("scores-*.jsonl"):
        scores.unlink()
    run(live, data, tmp_path, *more)
    (scores,) = tmp_path.glob("scores-*.jsonl")
    for line in scores.read_text().splitlines():
        said = json.loads(line)
        if said["case"].startswith("real/"):
            assert said["dino"] < 0.9, "two pictures of a toy are not one"
            continue
        assert [said[name] for name in ("clip_i", "mclip_i", "dino", "mdino")] == pytest.approx([1] * 4, abs=1e-5)


def test_two_subjects_and_likeness_of_faces(live, data, tmp_path, capsys):
    pairs = ("--protocol", "pairs", "--prompts", "1", "--pictures", "1")
    assert run(live, data, tmp_path / "jedi", *pairs) == 0
    assert run(live, data, tmp_path / "sd", *pairs, "--method", "subject-diffusion", "--adapter", "demo") == 0
    said = capsys.readouterr().out
    assert said.count("Subject-Diffusion, table 2") == 2 and said.count("Custom Diffusion (finetuned)") == 2
    assert len(list(tmp_path.rglob("bella-carla/1_1/01-1.png")) + list(tmp_path.rglob("bella-carla/*/01-1.png"))) >= 2
    assert run(live, data, tmp_path / "faces", "--protocol", "faces", "--prompts", "1", "--pictures", "1") == 0
    said = capsys.readouterr().out
    assert "Subject-Diffusion, table 4" in said and "of 2 pictures show no face and count 0" in said
    assert "your real pictures, with each other" in said
    (tmp_path / "people" / "nobody").mkdir(parents=True)
    reading.as_picture(torch.full((64, 64, 3), 0.5)).save(tmp_path / "people" / "nobody" / "1.png")
    with pytest.raises(hosts.SetupError, match="no face was found in .*nobody"):
        run(live, tmp_path / "people", tmp_path / "none", "--protocol", "faces")
    assert not list((tmp_path / "none").rglob("*.png")), "said before a picture is made"


@pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="Ray is left to whoever has it on PYTHONPATH")
def test_with_ray_a_server_that_is_killed_loses_nothing_and_changes_nothing(live, data, tmp_path, capsys):
    """The pictures of two servers, one of which is killed with SIGKILL at work, are those of one."""
    host = hosts.Host(Path(os.environ["COMFYUI_PATH"]), Path(sys.executable), True)
    with server.Server(host, say=lambda _: None, variables={"PYTHONPATH": os.environ.get("PYTHONPATH", "")}) as other:
        killed = threading.Thread(target=kill_at_work, args=(other,))
        killed.start()
        assert run(live, data, tmp_path / "two", "--servers", live.client.url, other.client.url, "--ray", "local") == 0
        killed.join()
        assert other.process.wait(10) == -signal.SIGKILL
    said = capsys.readouterr().out
    lines = [line.split() for line in said.splitlines() if line.startswith("http") and len(line.split()) == 3]
    done = {url: (int(finished), int(failed)) for url, finished, failed in lines}
    assert min(done[other.client.url]) >= 1, "it had done some, and had one when it was killed"
    assert sum(finished for finished, _ in done.values()) == 32 and "Not made" not in said
    assert run(live, data, tmp_path / "one") == 0
    made = [
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.png")}
        for folder in (tmp_path / "two", tmp_path / "one")
    ]
    assert len(made[0]) == 32 and made[0] == made[1]
