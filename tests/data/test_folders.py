"""Folders of pictures: which pictures are one set, and which caption belongs to which."""

import pytest
from same_subject.nodes.data.opening import open_source
from same_subject.tests.data import given

RED, BLUE = given.picture(), given.picture(colour=(20, 30, 200))


def shown(source):
    return {one.name: (given.colours(one), list(one.captions)) for one in source.sets(0, 0)}


def test_a_folder_of_sets_gives_each_with_the_captions_beside_its_pictures(tmp_path):
    given.write(
        tmp_path,
        {"car/01.png": RED, "car/01.txt": "a red\n car", "car/02.png": BLUE, "car/caption.txt": "cars", "x/cup/1.jpg.png": BLUE},
    )
    source = open_source(tmp_path)
    assert source.kind == "sets" and not source.skipped
    assert shown(source) == {
        "car": ([(200, 30, 40), (20, 30, 200)], ["a red car", "cars"]),
        "x/cup": ([(20, 30, 200)], [""]),
    }


@pytest.mark.parametrize("where", ["shoe/caption.txt", "shoe.txt", "captions.csv"])
def test_renders_of_one_thing_share_its_caption(tmp_path, where):
    text = 'shoe,"a shoe, worn"\n' if where == "captions.csv" else "a shoe, worn"
    given.write(tmp_path, {"shoe/000.png": RED, "shoe/001.png": BLUE, where: text})
    source = open_source(tmp_path)
    assert source.kind == "views"
    assert shown(source) == {"shoe": ([(200, 30, 40), (20, 30, 200)], ["a shoe, worn"] * 2)}
