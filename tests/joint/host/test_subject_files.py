"""Files of subjects: where they go, that they come back exactly, and what they show."""

import base64
import io
import json
import os

import folder_paths
import pytest
import torch
from PIL import Image
from same_subject.nodes.host import weights
from same_subject.nodes.joint.host import sets as joint_sets
from same_subject.nodes.joint.host import subject_files
from same_subject.nodes.joint.references import Reference
from same_subject.tests.joint.test_subjects import GIVEN, same
from same_subject.tests.tiny import models


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The one folder of subjects."""
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "subjects", ([str(tmp_path / "subjects")], {".safetensors"}))
    return tmp_path / "subjects"


def test_the_folder_is_the_hosts_and_a_users_own_comes_first(monkeypatch, tmp_path):
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "subjects", ([str(tmp_path)], set()))
    subject_files.register()
    paths, extensions = folder_paths.folder_names_and_paths["subjects"]
    assert paths == [str(tmp_path), os.path.join(folder_paths.models_dir, "subjects")] and extensions == {".safetensors"}
    assert subject_files.save(GIVEN, "rex").parent == tmp_path


def test_a_subject_comes_back_bit_for_bit(folder):
    path = subject_files.save(GIVEN, "rex")
    back = subject_files.read(path)
    assert len(back) == len(GIVEN) and all(map(same, GIVEN, back))
    assert path == subject_files.find(path.name) and subject_files.names() == [path.name]


def test_a_set_of_a_loaded_subject_is_the_set_of_its_references_to_the_bit(folder, tmp_path):
    from same_subject.nodes.demo.host import model

    demo = models.save_demo(tmp_path / "tiny.safetensors")
    _, clip, vae = model.load(demo)
    given = tuple(one for one in GIVEN if one.where is None or len(one.where) == 1)
    assert len(given) == 3
    back = subject_files.read(subject_files.save(given, "rex"))
    with torch.inference_mode():
        a, b = (joint_sets.prepare(clip, vae, each, ["one"], width=64, height=64) for each in (given, back))
    assert a.joint_set.key == b.joint_set.key and torch.equal(a.joint_set.references, b.joint_set.references)
    assert a.joint_set.strengths == b.joint_set.strengths and torch.equal(a.joint_set.where, b.joint_set.where)
    assert torch.equal(a.joint_set.shown_masks(), b.joint_set.shown_masks())
    assert torch.equal(a.positive[0][0], b.positive[0][0])


def test_nothing_is_ever_overwritten(folder):
    first = subject_files.save(GIVEN[:1], "dogs/rex")
    before = first.read_bytes()
    assert first == folder / "dogs" / "rex_00001_.safetensors"
    assert subject_files.save(GIVEN[1:], "dogs/rex").name == "rex_00002_.safetensors"
    (folder / "dogs" / "rex_00003_.safetensors").symlink_to(first)
    taken = folder / "dogs" / "max_00001_.safetensors"
    taken.symlink_to(folder / "nowhere")
    assert subject_files.save(GIVEN[1:], "dogs/rex").name == "rex_00004_.safetensors"
    assert subject_files.save(GIVEN[1:], "dogs/max").name == "max_00002_.safetensors" and not (folder / "nowhere").exists()
    assert first.read_bytes() == before
    assert subject_files.names() and subject_files.find("dogs/rex_00002_.safetensors").is_file()


BAD_NAMES = (
    "", " ", "../rex", "a/../../rex", "/rex", "C:/rex", "C:rex", "\\\\host\\rex", "a\\..\\..\\b", "a\0b", "a" * 101, "..", "re:x",
    "a\nb", "a*", 5,
)  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_leads_elsewhere_is_refused_and_writes_nothing(folder, tmp_path, name):
    assert str(subject_files.name_problem(name)).startswith("Save Subject: `name` is")
    with pytest.raises(ValueError, match="Save Subject: `name` is"):
        subject_files.save(GIVEN, name)
    assert not list(tmp_path.rglob("*"))


def test_a_link_that_leads_out_of_the_folder_and_a_full_folder_are_said(folder, tmp_path):
    folder.mkdir()
    (folder / "out").symlink_to(tmp_path)
    with pytest.raises(ValueError, match=r"Save Subject: `out/rex` cannot be written in .* Choose another `name`"):
        subject_files.save(GIVEN, "out/rex")
    (folder / "file").write_bytes(b"")
    with pytest.raises(ValueError, match="Save Subject: `file/rex` cannot be written"):
        subject_files.save(GIVEN, "file/rex")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["subjects"]


@pytest.mark.parametrize(
    "name", ("../rex.safetensors", "rex.txt", "rex.safetensors", "/etc/passwd", "a\0.safetensors", "C:/x.safetensors")
)
def test_a_file_that_is_not_in_the_folder_is_refused_with_where_to_put_it(folder, tmp_path, name):
    (tmp_path / "rex.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match=r"Load Subject: `file` is .*(Save Subject|Choose one)"):
        subject_files.check(name)


def written(folder, content):
    folder.mkdir(exist_ok=True)
    (folder / "rex.safetensors").write_bytes(content)
    return folder / "rex.safetensors"


def test_other_files_are_refused_in_a_sentence(folder):
    good = subject_files.save(GIVEN, "good")
    others = [b"", b"<html>", good.read_bytes()[:-5], models.save_demo(folder / "demo.safetensors").read_bytes()]
    for content in others:
        path = written(folder, content)
        for refusing in (subject_files.check, lambda name: subject_files.read(folder / name)):
            with pytest.raises(ValueError, match=r"^Load Subject: rex\.safetensors .*Save Subject\.$"):
                refusing(path.name)


def test_a_file_shows_its_pictures_and_captions_and_nothing_of_its_author(folder):
    path = subject_files.save(GIVEN, "dogs/rex")
    said = weights.read_metadata(path)
    assert set(said) == {
        "modelspec.title", "modelspec.description", "modelspec.thumbnail", "ssmd_cover_images", "same_subject.subject"
    }  # fmt: skip
    assert said["modelspec.title"] == "rex" and said["modelspec.description"].startswith("4 reference pictures. a red toy")
    start, _, picture = said["modelspec.thumbnail"].partition(",")
    assert start == "data:image/jpeg;base64" and json.loads(said["ssmd_cover_images"]) == [picture]
    shown = Image.open(io.BytesIO(base64.b64decode(picture)))
    assert shown.size == (256, 256) and len(picture) < 100_000


@pytest.mark.parametrize(
    "places",
    [
        [(0, 8, 0, 8)],
        [(0, 8, 0, 4), (0, 8, 4, 8)],
        [(0, 4, 0, 4), (0, 4, 4, 8), (4, 8, 0, 8)],
        [(0, 4, 0, 4), (0, 4, 4, 8), (4, 8, 0, 4), (4, 8, 4, 8)],
        [(0, 4, 0, 4), (0, 4, 4, 8), (4, 8, 0, 4), (4, 8, 4, 8), (0, 0, 0, 0)],
    ],
)
def test_the_sheet_shows_up_to_four_pictures_in_their_order_without_gaps(places):
    colours = torch.rand(len(places), 3, generator=torch.Generator().manual_seed(0))
    shown = subject_files.sheet([Reference(colour.expand(9, 5, 3), "", "pad", 0.0) for colour in colours], 8)
    assert shown.shape == (8, 8, 3)
    for colour, (top, bottom, left, right) in zip(colours, places, strict=True):
        assert torch.allclose(shown[top:bottom, left:right], colour.expand(bottom - top, right - left, 3), atol=1e-5)


def test_a_file_of_photos_is_about_as_large_as_their_pixels(folder):
    photo = (torch.arange(600)[None, :, None] * torch.tensor([0.1, 0.2, 0.4]) + torch.zeros(400, 1, 1)).round() / 255
    mask = (torch.rand(400, 600) > 0.5).float()
    path = subject_files.save([Reference(photo, "", "crop", 0.5, mask)], "rex")
    assert 400 * 600 * 4 < path.stat().st_size < 1.1 * 400 * 600 * 4


def test_nothing_to_save_is_refused(folder):
    with pytest.raises(ValueError, match="Save Subject: `references` is empty"):
        subject_files.save((), "rex")
    with pytest.raises(ValueError, match="Save Subject: a caption has more than"):
        subject_files.save([Reference(GIVEN[0].picture, "a" * 10_001, "crop", 0.5)], "rex")
