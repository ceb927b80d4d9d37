"""Which subject adapters a user can choose, where they are, and names that lead elsewhere."""

import os

import folder_paths
import pytest
from same_subject.nodes.subject.host import files
from same_subject.tests.tiny import subject_adapter_files as tiny

STEP = "0_449999"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """`models/subject_adapters` with a file in a folder, two steps of the authors' four, and what is neither."""
    monkeypatch.setitem(folder_paths.folder_names_and_paths, files.FOLDER, ([str(tmp_path)], {".safetensors", ".bin"}))
    tiny.save(tmp_path / "mine" / "toy.safetensors")
    for step in (STEP, "0_9"):
        for part in ("unet", "clip_text", "mlp", "proj"):
            (tmp_path / "theirs" / f"{part}_{step}").mkdir(parents=True)
            (tmp_path / "theirs" / f"{part}_{step}" / "pytorch_model.bin").write_bytes(b"x")
    (tmp_path / "other.bin").write_bytes(b"x")
    (tmp_path.parent / "outside.safetensors").write_bytes(b"x")
    return tmp_path


def test_files_and_steps_of_the_authors_are_listed_behind_the_demo(folder):
    assert sorted(files.names()[1:]) == ["mine/toy.safetensors", f"theirs/unet_{STEP}", "theirs/unet_0_9"]
    assert files.names()[0] == "demo"


def test_what_is_listed_is_found_and_may_be_chosen(folder):
    assert files.find("mine/toy.safetensors") == folder / "mine" / "toy.safetensors"
    assert files.find(f"theirs/unet_{STEP}") == folder / "theirs" / f"unet_{STEP}"
    for name in files.names()[1:]:
        files.check(name)
    assert list(files.parts(folder / "theirs" / "unet_0_9").values()) == [
        folder / "theirs" / f"{part}_0_9" / "pytorch_model.bin" for part in ("unet", "clip_text", "mlp", "proj")
    ]


@pytest.mark.parametrize(
    "name",
    [
        "../outside.safetensors",
        "mine/../../outside.safetensors",
        "/etc/passwd",
        "other.bin",
        "theirs",
        "mine",
        "x.safetensors",
        "",
    ],
)
def test_names_that_lead_elsewhere_or_to_something_else_are_refused(folder, name):
    with pytest.raises(ValueError, match="Load Subject Adapter: `file` is .*which is in none of .*choose `demo`"):
        files.find(name)


def test_a_name_that_is_none_is_refused(folder):
    for name in (7, "a\0b", "\ud800"):
        with pytest.raises(ValueError, match="Load Subject Adapter: `file` is .*needs to be the name of a file"):
            files.find(name)


def test_a_step_that_lacks_a_part_is_refused_with_its_name(folder):
    os.remove(folder / "theirs" / f"proj_{STEP}" / "pytorch_model.bin")
    with pytest.raises(ValueError, match=f"theirs lacks proj_{STEP}/pytorch_model.bin, but needs the four folders of one step"):
        files.check(f"theirs/unet_{STEP}")


def test_a_file_that_says_nothing_of_subjects_is_refused_before_it_is_loaded(folder):
    (folder / "page.safetensors").write_bytes(b"<html>")
    for name, said in (("page", "is not a safetensors file"),):
        with pytest.raises(ValueError, match=f"Load Subject Adapter: {name}.safetensors cannot be used: .*{said}"):
            files.check(f"{name}.safetensors")


def test_a_demo_that_is_not_there_is_missed(monkeypatch, tmp_path):
    monkeypatch.setattr(files, "DEMO_FILE", tmp_path / "subjects.safetensors")
    with pytest.raises(ValueError, match="which ships with the pack, is not there. Reinstall the pack"):
        files.find("demo")
    tiny.save(tmp_path / "subjects.safetensors")
    assert files.find("demo") == tmp_path / "subjects.safetensors"


@pytest.mark.parametrize("name", ["mine/toy.safetensors", f"theirs/unet_{STEP}"])
def test_a_changed_file_is_another_one(folder, name):
    before = files.fingerprint(name)
    assert files.fingerprint(name) == before
    changed = folder / (name if name.endswith("s") else f"theirs/mlp_{STEP}/pytorch_model.bin")
    os.utime(changed, (1, 1))
    assert files.fingerprint(name) != before
