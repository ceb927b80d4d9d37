"""Folders of pictures: which pictures are one set, which caption belongs to which, and what is left out."""

import codecs
import os

import pytest
from PIL import Image
from same_subject.nodes.data import captions
from same_subject.nodes.data.opening import open_source
from same_subject.tests.data import given

RED, BLUE = given.picture(), given.picture(colour=(20, 30, 200))
R, B = (200, 30, 40), (20, 30, 200)


def shown(source):
    return {one.name: (given.colours(one), list(one.captions)) for one in source.sets(0, 0)}


def test_a_folder_of_sets_gives_each_with_the_captions_beside_its_pictures(tmp_path):
    files = {
        "car/01.png": RED,
        "car/01.txt": "a red\n car",
        "car/02.png": BLUE,
        "car/caption.txt": "cars",
        "x/cup/1.jpg.png": BLUE,
    }
    source = open_source(given.write(tmp_path, files))
    assert source.kind == "sets"
    assert shown(source) == {"car": ([R, B], ["a red car", "cars"]), "x/cup": ([B], [""])}
    assert source.skipped == {}


@pytest.mark.parametrize("where", ["shoe/caption.txt", "shoe.txt", "captions.csv"])
def test_renders_of_one_thing_share_its_caption(tmp_path, where):
    text = 'shoe,"a shoe, worn"\n' if where == "captions.csv" else "a shoe, worn"
    source = open_source(given.write(tmp_path, {"shoe/000.png": RED, "shoe/001.png": BLUE, where: text}))
    assert source.kind == "views"
    assert shown(source) == {"shoe": ([R, B], ["a shoe, worn"] * 2)}


def stacked(*colours, width=12, height=12):
    picture = Image.new("RGB", (width, height * len(colours)))
    for row, colour in enumerate(colours):
        picture.paste(colour, (0, row * height, width, (row + 1) * height))
    return given.bytes_of(picture)


def test_stacked_pictures_are_cut_apart_with_their_captions(tmp_path):
    files = {"1.png": stacked(R, B), "1.txt": "a car<|split|> the car\nagain", "2.png": stacked(B), "2.txt": "a cup"}
    source = open_source(given.write(tmp_path, files))
    assert source.kind == "stacked"
    assert shown(source) == {"1.png": ([R, B], ["a car", "the car again"]), "2.png": ([B], ["a cup"])}


def test_stacked_pictures_that_do_not_fit_their_captions_are_counted(tmp_path):
    files = {
        "good.png": stacked(R, B), "good.txt": "a<|split|>b",
        "few.png": stacked(R, B), "few.txt": "a",
        "wide.png": stacked(R, height=9), "wide.txt": "a",
        "odd.png": stacked(R, B, height=15), "odd.txt": "a<|split|>b",
    }  # fmt: skip
    source = open_source(given.write(tmp_path, files))
    assert list(shown(source)) == ["good.png"]
    assert {reason: sorted(names) for reason, names in source.skipped.items()} == {
        "it has other than one caption a picture": ["few.png: 1 captions, 2 pictures"],
        "its height is no multiple of its width": ["odd.png: 12 x 30 pixels", "wide.png: 12 x 9 pixels"],
    }


def test_single_pictures_are_sets_of_one(tmp_path):
    source = open_source(given.write(tmp_path, {"a.png": RED, "a.txt": "a car", "b.png": BLUE}))
    assert source.kind == "pictures"
    assert shown(source) == {"a.png": ([R], ["a car"]), "b.png": ([B], [""])}


def test_damaged_and_small_pictures_are_counted_and_the_rest_of_their_set_is_used(tmp_path):
    files = {"car/1.png": RED, "car/2.png": RED[:40], "car/3.png": given.picture(size=(20, 9)), "cup/1.jpg": b"no picture"}
    source = open_source(given.write(tmp_path, {**files, "car/caption.txt": "a car"}), least_side=10)
    assert shown(source) == {"car": ([R], ["a car"])}
    reasons = {reason: [name.partition(":")[0] for name in names] for reason, names in source.skipped.items()}
    assert {reason: sorted(names) for reason, names in reasons.items()} == {
        "it cannot be read": ["car/2.png", "cup/1.jpg"],
        "a side is shorter than 10 pixels": ["car/3.png"],
        "none of its pictures can be used": ["cup"],
    }
    before = source.skipped
    assert shown(source) and source.skipped == before, "read again, each counts once"


def test_links_out_of_the_folder_are_not_followed(tmp_path):
    given.write(tmp_path / "out", {"secret.png": BLUE, "secret.txt": "secret"})
    source = given.write(tmp_path / "source", {"car/1.png": RED, "car/1.txt": "a car"})
    os.symlink(tmp_path / "out" / "secret.png", source / "car" / "2.png")
    os.symlink(tmp_path / "out", source / "car" / "more.png")
    os.symlink(source / "car" / "1.png", source / "car" / "3.png")
    opened = open_source(source)
    assert shown(opened) == {"car": ([R, R], ["a car", ""])}
    assert {name for names in opened.skipped.values() for name in names} == {"car/2.png", "car/more.png"}


def test_a_caption_is_no_link_out_of_the_folder(tmp_path):
    given.write(tmp_path / "out", {"secret.txt": "secret"})
    source = given.write(tmp_path / "source", {"car/1.png": RED})
    os.symlink(tmp_path / "out" / "secret.txt", source / "car" / "1.txt")
    assert shown(open_source(source)) == {"car": ([R], [""])}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("where", ["shoe/000.txt", "shoe/caption.txt", "shoe.txt", "captions.csv"])
def test_captions_that_windows_tools_save_are_read(tmp_path, encoding, where):
    text = "shoe,a café\r\nhat,a hat\r\n" if where == "captions.csv" else "a café\r\n"
    mark = "\ufeff" if encoding.startswith("utf-16") else ""
    given.write(tmp_path, {"shoe/000.png": RED, where: (mark + text).encode(encoding)})
    source = open_source(f"{'sets' if where == 'shoe/000.txt' else 'views'}:{tmp_path}")
    assert shown(source) == {"shoe": ([R], ["a café"])} and not source.skipped


@pytest.mark.parametrize("data", ["a café".encode("cp1252"), "a car".encode("utf-16-le"), codecs.BOM_UTF16_LE + b"odd"])
def test_a_caption_that_cannot_be_read_is_counted_and_its_picture_used(tmp_path, data):
    source = open_source(given.write(tmp_path, {"car/1.png": RED, "car/1.txt": data, "car/2.png": BLUE, "car/2.txt": "a car"}))
    assert shown(source) == {"car": ([R, B], ["", "a car"])}
    [(reason, [name])] = source.skipped.items()
    assert reason == "its text cannot be read" and name.startswith("car/1.txt: ")


def test_a_long_caption_is_read_up_to_its_bound_whatever_letter_stands_there(tmp_path):
    source = open_source(given.write(tmp_path, {"car/1.png": RED, "car/1.txt": "a" + "é" * captions.MOST_TEXT}))
    [(_, [caption])] = shown(source).values()
    assert caption == "a" + "é" * (captions.MOST_TEXT // 2 - 1) and not source.skipped


def test_a_line_of_a_table_that_cannot_be_read_is_counted_and_the_others_used(tmp_path):
    table = "shoe,a café\nhat,a hat\n".encode("cp1252")
    source = open_source(given.write(tmp_path, {"shoe/0.png": RED, "hat/0.png": BLUE, "captions.csv": table}))
    assert shown(source) == {"shoe": ([R], [""]), "hat": ([B], ["a hat"])}
    assert [name[:20] for name in source.skipped["its text cannot be read"]] == ["captions.csv, line 1"]
    (tmp_path / "captions.csv").write_bytes(codecs.BOM_UTF16_LE + b"odd")
    source = open_source(tmp_path)
    assert [one[1] for one in shown(source).values()] == [[""], [""]] and list(source.skipped) == ["its table cannot be read"]


def test_so_many_pictures_of_a_set_are_drawn_anew_each_epoch(tmp_path):
    source = open_source(given.write(tmp_path, {f"car/{n}.png": given.picture(colour=(n, 0, 0)) for n in range(9)}), most=3)
    drawn = [[colour[0] for colour in given.colours(next(source.sets(1, epoch)))] for epoch in range(4)]
    assert all(len(set(one)) == 3 for one in drawn) and len({tuple(one) for one in drawn}) == 4
    assert drawn[0] == [colour[0] for colour in given.colours(next(source.sets(1, 0)))]
