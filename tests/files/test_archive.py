"""Only the named files of a zip come out, all of them or none."""

import hashlib
import os
import zipfile

import pytest
from same_subject.nodes.files import archive
from same_subject.nodes.files.archive import Member
from same_subject.nodes.files.transfer import Stopped, Watch

HELD = {"one.onnx": b"first" * 1000, "two.onnx": b"second" * 500}


def member(name, data):
    return Member(name, hashlib.sha256(data).hexdigest(), len(data))


MEMBERS = [member(name, data) for name, data in HELD.items()]


def packed(folder, files):
    with zipfile.ZipFile(folder / "pack.zip", "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in files.items():
            file.writestr(name, data)
    return folder / "pack.zip"


@pytest.mark.parametrize("within", ["", "pack/"])
def test_the_named_files_come_out_flat_and_no_other(tmp_path, within):
    more = {"../evil": b"x", "/evil": b"x", "pack/more.onnx": b"x", "../one.onnx": b"other", "deep/pack/two.onnx": b"other"}
    (tmp_path / "to").mkdir()
    archive.take(
        packed(tmp_path, {**more, **{within + name: data for name, data in HELD.items()}}), MEMBERS, tmp_path / "to", Watch()
    )
    assert {name: (tmp_path / "to" / name).read_bytes() for name in os.listdir(tmp_path / "to")} == HELD
    assert sorted(os.listdir(tmp_path)) == ["pack.zip", "to"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"two.onnx": None}, "pack.zip holds 0 of that name as two.onnx, but needs one of 3000 bytes"),
        ({"two.onnx": None, "../two.onnx": HELD["two.onnx"]}, "holds 0 of that name as two.onnx"),
        ({"pack/two.onnx": b"x"}, "holds 2 of that name as two.onnx"),
        ({"two.onnx": b"x" * 10**7}, "holds 10000000 bytes as two.onnx, but needs one of 3000"),
        ({"two.onnx": b"x" * 3000}, "two.onnx in pack.zip is not the published file"),
    ],
)
def test_what_is_not_as_listed_is_refused_and_nothing_comes_out(tmp_path, change, message):
    files = {name: data for name, data in {**HELD, **change}.items() if data is not None}
    (tmp_path / "to").mkdir()
    with pytest.raises(ValueError, match=message):
        archive.take(packed(tmp_path, files), MEMBERS, tmp_path / "to", Watch())
    assert os.listdir(tmp_path / "to") == []


def test_a_zip_that_lies_about_a_size_writes_no_more_than_that(tmp_path):
    path = packed(tmp_path, {**HELD, "two.onnx": b"x" * 3001})
    data = path.read_bytes()
    place = data.rindex(b"PK\x01\x02")
    assert data[place + 24 : place + 28] == (3001).to_bytes(4, "little")
    path.write_bytes(data[: place + 24] + (3000).to_bytes(4, "little") + data[place + 28 :])
    (tmp_path / "to").mkdir()
    with pytest.raises(ValueError, match="two.onnx in pack.zip is not the published file|cannot be unpacked"):
        archive.take(path, MEMBERS, tmp_path / "to", Watch())
    assert os.listdir(tmp_path / "to") == []


def test_what_is_no_zip_or_damaged_is_refused_and_stopping_leaves_nothing(tmp_path):
    (tmp_path / "to").mkdir()
    (tmp_path / "pack.zip").write_bytes(b"<html>")
    with pytest.raises(ValueError, match="pack.zip cannot be unpacked: File is not a zip file. Press Download again"):
        archive.take(tmp_path / "pack.zip", MEMBERS, tmp_path / "to", Watch())
    with pytest.raises(Stopped):
        archive.take(packed(tmp_path, HELD), MEMBERS, tmp_path / "to", Watch(stopped=lambda: True))
    assert os.listdir(tmp_path / "to") == []
