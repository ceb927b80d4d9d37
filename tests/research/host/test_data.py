"""The command that looks at training data."""

import pytest
from PIL import Image
from same_subject.dev import host as hosts
from same_subject.research import data
from same_subject.tests.data import given


def run(capsys, *arguments):
    code = data.main([*map(str, arguments)])
    return code, capsys.readouterr().out


@pytest.fixture(autouse=True)
def already_inside(monkeypatch):
    monkeypatch.setenv(hosts.CHILD, "1")


@pytest.fixture
def folder(tmp_path):
    files = {"car/1.png": given.picture(), "car/1.txt": "a red car", "car/2.png": given.picture(size=(9, 30)), "cup/1.jpg": b"x"}
    return given.write(tmp_path / "source", files)


def test_it_says_how_many_sets_and_pictures_there_are_and_why_others_are_left_out(folder, capsys):
    code, said = run(capsys, folder)
    assert code == 0
    for line in (
        "sets:",
        "sets          1",
        "1 with 2 pictures: 2 in all",
        "0 to 3, in the middle 0 words, 1 of 2 pictures have none",
        "left out      1: none of its pictures can be used (cup)",
        "left out      1: it cannot be read (cup/1.jpg",
    ):
        assert line in said
    assert "20 x 12 (1)" in said and "9 x 30 (1)" in said and "shorter sides 9 to 12" in said


def test_the_sheet_has_a_row_a_set_with_its_pictures(folder, tmp_path, capsys):
    code, said = run(capsys, folder, "demo:3", "--sets", 2, "--output", tmp_path / "sheet.png")
    assert code == 0 and "sheet.png shows 3 sets" in said
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (4 * data.SIDE, 3 * (data.SIDE + data.LINE))
        assert sheet.getpixel((data.SIDE // 2, data.SIDE // 2)) == (200, 30, 40)


def test_a_source_without_a_set_is_said_and_ends_with_1(tmp_path, capsys):
    given.write(tmp_path, {"a.png": b"no"})
    code, said = run(capsys, tmp_path)
    assert code == 1 and "It holds nothing to train on." in said


def test_what_is_no_source_ends_in_one_sentence(tmp_path, capsys):
    with pytest.raises(SystemExit):
        data.main([str(tmp_path / "nowhere")])
    assert "nowhere is not there" in capsys.readouterr().err
