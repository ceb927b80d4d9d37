"""Files of a source: links that its user or Hugging Face's cache made are read, others that lead out of it are not."""

import os

import pytest
from same_subject.nodes.data.opening import open_source
from same_subject.tests.data import given

RED, BLUE = given.picture(), given.picture(colour=(20, 30, 200))
R, B = (200, 30, 40), (20, 30, 200)
SETS = {"car/1.png": RED, "car/1.txt": "a car", "cup/1.png": BLUE, "cup/caption.txt": "a cup"}


def shown(source):
    return {one.name: (given.colours(one), list(one.captions)) for one in source.sets(0, 0)}


@pytest.mark.parametrize("named", ["snapshot", "snapshots", "link"])
def test_a_hugging_face_snapshot_is_read_through_its_links(tmp_path, named):
    folder = given.snapshot(tmp_path / "datasets--me--toys", SETS)
    (tmp_path / "toys").symlink_to(folder)
    below = f"{folder.name}/" if named == "snapshots" else ""
    source = open_source({"snapshot": folder, "snapshots": folder.parent, "link": tmp_path / "toys"}[named])
    assert shown(source) == {f"{below}car": ([R], ["a car"]), f"{below}cup": ([B], ["a cup"])} and not source.skipped


def test_a_folder_of_a_snapshot_is_read_through_its_links(tmp_path):
    source = open_source(given.snapshot(tmp_path / "toys", SETS) / "car")
    assert shown(source) == {"1.png": ([R], ["a car"])} and not source.skipped


def test_a_file_that_is_named_may_be_a_link(tmp_path):
    given.write(tmp_path, {"elsewhere/a": RED, "source/b.txt": "a car"})
    (tmp_path / "source" / "b.png").symlink_to(tmp_path / "elsewhere" / "a")
    source = open_source(f"pictures:{tmp_path / 'source' / 'b.png'}")
    assert shown(source) == {"b.png": ([R], ["a car"])} and not source.skipped


@pytest.mark.parametrize(
    ("place", "target"),
    [
        ("toys/snapshots/" + "a" * 40, "others/blobs/b"),  # another repository's
        ("toys/snapshots/" + "a" * 40, "toys/refs/b"),
        ("toys/snapshots/" + "a" * 40, "toys/blobs/below/b"),
        ("toys/snapshots/2026-01-01", "toys/blobs/b"),  # of a disk, not of a repository
        ("toys/snapshots", "toys/blobs/b"),
        ("toys/" + "a" * 40, "toys/blobs/b"),
    ],
)
def test_no_other_link_out_of_the_folder_is_followed(tmp_path, place, target):
    given.write(tmp_path, {target: BLUE, f"{place}/car/1.png": RED})
    (tmp_path / place / "car" / "2.png").symlink_to(tmp_path / target)
    source = open_source(f"sets:{tmp_path / place / 'car'}")
    assert shown(source) == {"car": ([R], [""])}
    assert source.skipped == {"it is a link to a folder, or out of the source's folder": ["car/2.png"]}


def test_links_that_lead_nowhere_or_in_a_circle_are_counted(tmp_path):
    given.write(tmp_path, {"car/1.png": RED})
    os.symlink("3.png", tmp_path / "car" / "2.png")
    os.symlink("2.png", tmp_path / "car" / "3.png")
    os.symlink("gone", tmp_path / "car" / "4.png")
    source = open_source(tmp_path)
    assert shown(source) == {"car": ([R], [""])}
    assert [name[:9] for name in source.skipped["it cannot be read"]] == ["car/2.png", "car/3.png", "car/4.png"]
