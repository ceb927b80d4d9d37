"""Shards of sets: what is written is read, other forms are read too, and damage is counted."""

import pytest
from same_subject.nodes.data import shards
from same_subject.nodes.data.examples import PictureSet
from same_subject.nodes.data.opening import open_source
from same_subject.nodes.data.pictures import decode
from same_subject.tests.data import given

RED, BLUE = given.picture(), given.picture(colour=(20, 30, 200))
R, B = (200, 30, 40), (20, 30, 200)


def made(number):
    pictures = decode(given.picture(colour=(number, 0, 0))), decode(BLUE)
    return PictureSet(f"s/{number:03d}", pictures, (f"car {number}", ""), {"subject": "car", "clip": [[1.0, 0.97]]})


def test_sets_that_were_written_are_read_as_they_were(tmp_path):
    assert shards.write(tmp_path / "a.tar", [made(1), made(2)]) == 2
    assert shards.write(tmp_path / "b.tar", [made(3)], "jpg") == 1
    source = open_source(tmp_path)
    read = {one.name: one for one in source.sets(0, 0)}
    assert sorted(read) == ["a.tar/s/001", "a.tar/s/002", "b.tar/s/003"] and not source.skipped
    one = read["a.tar/s/002"]
    assert given.colours(one) == [(2, 0, 0), B] and one.captions == ("car 2", "") and one.about == made(2).about
    assert abs(given.colours(read["b.tar/s/003"])[1][2] - 200) < 8
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a.tar", "b.tar"]


def test_the_same_sets_make_the_same_bytes(tmp_path):
    for name in ("a.tar", "b.tar"):
        shards.write(tmp_path / name, [made(1)])
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_a_shard_is_whole_or_what_it_was(tmp_path):
    shards.write(tmp_path / "a.tar", [made(1)])

    def failing():
        yield made(2)
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        shards.write(tmp_path / "a.tar", failing())
    assert [one.name for one in open_source(tmp_path / "a.tar").sets(0, 0)] == ["a.tar/s/001"]


@pytest.mark.parametrize("names", [("a.b",), ("",), ("/a",), ("a", "a")])
def test_names_that_cannot_be_keys_are_refused(tmp_path, names):
    with pytest.raises(ValueError, match="needs one without a dot"):
        shards.write(tmp_path / "a.tar", [PictureSet(name, (decode(RED),), ("",)) for name in names])


def test_single_pictures_labelled_ones_and_stacked_sets_are_read(tmp_path):
    labelled = [("2.jpg", given.picture("JPEG")), ("2.caption.txt", b"a car"), ("2.entities.json", b"{}")]
    pair = given.stack(RED, BLUE)
    members = [("1.png", RED), ("1.txt", b"a car"), *labelled, ("3.png", pair), ("3.txt", b"a car<|split|>a cup")]
    given.shard(tmp_path / "a.tar", [*members, ("4.json", b"{}")])
    read = {one.name: (len(one), one.captions) for one in open_source(tmp_path).sets(0, 0)}
    assert read == {"a.tar/1": (1, ("a car",)), "a.tar/2": (1, ("a car",)), "a.tar/3": (2, ("a car", "a cup"))}


def test_what_stands_before_a_shard_s_damage_is_used_and_the_rest_is_counted(tmp_path):
    shards.write(tmp_path / "a.tar", [made(number) for number in range(3)])
    data = (tmp_path / "a.tar").read_bytes()
    whole = data.index(b"s/001.1.png")
    (tmp_path / "a.tar").write_bytes(data[: whole + 100])
    given.shard(tmp_path / "b.tar", [("1.1.png", RED[:50]), ("1.2.png", BLUE), ("2.1.png", b"")])
    source = open_source(tmp_path)
    assert {one.name: len(one) for one in source.sets(0, 0)} == {"a.tar/s/000": 2, "b.tar/1": 1}
    assert sorted(name.partition(":")[0] for names in source.skipped.values() for name in names) == [
        "a.tar", "b.tar/1.1.png", "b.tar/2", "b.tar/2.1.png",
    ]  # fmt: skip


def test_a_caption_that_cannot_be_read_is_counted(tmp_path):
    odd = "a café".encode("cp1252")
    members = [("1.1.png", RED), ("1.1.txt", odd), ("1.2.png", BLUE), ("1.2.txt", "a café".encode("utf-16"))]
    given.shard(tmp_path / "a.tar", [*members, ("2.png", RED), ("2.txt", odd)])
    source = open_source(tmp_path)
    assert {one.name: one.captions for one in source.sets(0, 0)} == {"a.tar/1": ("", "a café")}
    names = [name.partition(":")[0] for name in source.skipped["its text cannot be read"]]
    assert sorted(names) == ["a.tar/1.1.txt", "a.tar/2"], "of 2 it cannot be told whether it is stacked"


def test_a_field_that_another_tool_wrote_is_no_danger(tmp_path):
    given.shard(tmp_path / "a.tar", [("1.1.png", RED), ("1.json", b"[" * 100), ("2.1.png", RED), ("2.json", b"[1]")])
    assert [one.about for one in open_source(tmp_path).sets(0, 0)] == [{}, {}]
