"""Where pictures come from: each kind of source gives the same bytes and captions, and damage is said, not raised."""

import pyarrow
import pytest
from pyarrow import parquet
from same_subject.dev.setup.errors import SetupError
from same_subject.nodes.data.pictures import Damaged
from same_subject.research.labels import sources
from same_subject.tests.research.labels.host import given

RED, BLUE = given.picture(), given.picture(colour=(20, 30, 200))


@pytest.fixture
def folder(tmp_path):
    source = tmp_path / "source"
    (source / "below").mkdir(parents=True)
    (source / "b.png").write_bytes(RED)
    (source / "b.txt").write_text("a  red\ncar\n")
    (source / "below" / "b.PNG").write_bytes(BLUE)
    (source / "below" / "b.caption.txt").write_text("a blue car")
    (source / "c.jpg").write_bytes(b"")
    (source / ".hidden.png").write_bytes(RED)
    (source / "notes.txt").write_text("no picture")
    return source


def read(source, *columns):
    return [(item.key, item.caption, item.read()) for item in sources.items(source, *columns)]


def test_a_folder_gives_its_pictures_and_those_below_with_the_captions_beside_them(folder):
    assert read(folder) == [("b.png", "a red car", RED), ("c.jpg", "", b""), ("below/b.PNG", "a blue car", BLUE)]


def test_a_shard_gives_each_sample_s_picture_by_its_place_in_the_file(folder):
    members = [("x/1.txt", b"a red car"), ("x/1.png", RED), ("x/1.seg.png", BLUE), ("x/2.json", b"{}"), ("y/1.webp", BLUE)]
    path = given.shard(folder / "b.tar", members)
    wanted = [("b.tar/x/1.png", "a red car", RED), ("b.tar/y/1.webp", "", BLUE)]
    assert read(path) == wanted
    assert [one for one in read(folder) if one[0].startswith("b.tar")] == wanted


def test_what_stands_in_a_shard_before_its_damage_is_used(folder):
    path = given.shard(folder / "b.tar", [(f"{number}.png", RED) for number in range(4)])
    data = path.read_bytes()
    for cut in (data[:2100], data[:2600], data[:2048] + b"x" * 512 + data[2560:]):  # in a header, in a picture, no header
        path.write_bytes(cut)
        *whole, broken = sources.items(path)
        assert [item.read() for item in whole] == [RED] * len(whole) and 1 <= len(whole) <= 2
        assert broken.key == "b.tar/*"
        with pytest.raises(Damaged, match="the shard is damaged from here on"):
            broken.read()
    (folder / "c.tar").write_bytes(b"no tar at all")
    assert [item.problem != "" for item in sources.items(folder / "c.tar")] == [True]


def test_a_caption_that_cannot_be_read_is_damage(folder):
    odd = "a café".encode("cp1252")
    (folder / "b.txt").write_bytes(odd)
    (folder / "below" / "b.caption.txt").write_bytes("a café".encode("utf-16"))
    given.shard(folder / "b.tar", [("1.txt", odd), ("1.png", RED), ("2.png", RED)])
    items = {item.key: item for item in sources.items(folder)}
    assert {key for key, item in items.items() if "its text cannot be read" in item.problem} == {"b.png", "b.tar/1.png"}
    assert items["below/b.PNG"].caption == "a café" and items["b.tar/2.png"].read() == RED


def test_a_parquet_lists_files_beside_it_or_anywhere(folder):
    rows = {
        "file": ["b.png", str(folder / "below/b.PNG"), "not/there.png", "https://x.org/a.png", None],
        "text": ["one", None, "", "", ""],
    }
    parquet.write_table(pyarrow.table(rows), folder / "list.parquet")
    items = list(sources.items(folder / "list.parquet", sources.Columns("file", "text")))
    assert [(item.read(), item.caption) for item in items[:2]] == [(RED, "one"), (BLUE, "")]
    for item, wrong in zip(items[2:], ("No such file", "no path of a local file", "no path of a local file"), strict=True):
        with pytest.raises(Damaged, match=wrong):
            item.read()


def test_a_parquet_without_the_column_is_refused_with_those_that_it_has(folder):
    parquet.write_table(pyarrow.table({"url": ["b.png"], "alt": ["x"]}), folder / "list.parquet")
    with pytest.raises(SetupError, match="no column `path`, but url, alt"):
        list(sources.items(folder / "list.parquet"))
    (folder / "broken.parquet").write_bytes(b"PAR1 no more")
    assert [item.problem[:19] for item in sources.items(folder / "broken.parquet")] == ["the list is damaged"]


def test_pictures_of_several_lists_keep_keys_of_their_own(folder):
    for place, data in (("a", RED), ("b", BLUE)):
        (folder / place / "img").mkdir(parents=True)
        (folder / place / "img" / "1.jpg").write_bytes(data)
        rows = ["img/1.jpg", str(folder / place / "img" / "1.jpg"), f"../{place}/./img/1.jpg", "https://x.org/a.png", None]
        parquet.write_table(pyarrow.table({"path": rows, "caption": [place] * 5}), folder / place / "list.parquet")
        (folder / place / "broken.parquet").write_bytes(b"PAR1 no more")
    given = [item for item in sources.items(folder) if item.key[:2] in ("a/", "b/")]
    whole = {(item.key, item.caption): item.read() for item in given if item.caption}
    assert whole == {("a/img/1.jpg", "a"): RED, ("b/img/1.jpg", "b"): BLUE}
    wrong = ("broken.parquet/*", "list.parquet/4: https://x.org/a.png", "list.parquet/5: None")
    assert sorted(item.key for item in given if item.problem) == [f"{place}/{name}" for place in "ab" for name in wrong]
    parquet.write_table(pyarrow.table({"path": ["../b.png", "1.jpg"]}), folder / "a" / "img" / "list.parquet")
    keys = [item.key for item in sources.items(folder / "a" / "img" / "list.parquet")]
    assert keys == [(folder / "a" / "b.png").as_posix(), "1.jpg"]


@pytest.mark.parametrize("form", ["webdataset", "files"])
def test_img2dataset_s_own_lists_are_passed_over(folder, form):
    """It writes `00000.parquet` with address, caption and key beside `00000.tar`, or beside a folder `00000`."""
    place = folder / "below" / "laion"
    (place / "00000").mkdir(parents=True)
    if form == "webdataset":
        (place / "00000").rmdir()
        given.shard(place / "00000.tar", [("000000000.jpg", RED), ("000000000.txt", b"a car"), ("000000000.json", b"{}")])
    else:
        (place / "00000" / "000000000.jpg").write_bytes(RED)
        (place / "00000" / "000000000.txt").write_text("a car")
    (place / "00000_stats.json").write_text("{}")
    rows = {"url": ["https://x.org/a.jpg"], "caption": ["a car"], "key": ["000000000"]}
    parquet.write_table(pyarrow.table(rows), place / "00000.parquet")
    [(key, caption, data)] = read(folder / "below" / "laion")
    assert key.endswith("/000000000.jpg") and (caption, data) == ("a car", RED)
    with pytest.raises(SetupError, match="no column `path`, but url, caption, key"):
        list(sources.items(place / "00000.parquet"))
    (place / "00001.parquet").write_bytes((place / "00000.parquet").read_bytes())
    with pytest.raises(SetupError, match="00001.parquet has no column `path`"):
        list(sources.items(folder / "below"))


def test_a_list_needs_no_captions(folder):
    parquet.write_table(pyarrow.table({"path": ["b.png"]}), folder / "list.parquet")
    assert read(folder / "list.parquet") == [("b.png", "", RED)]


def test_what_is_no_source_is_refused(folder):
    for path in (folder / "notes.txt", folder / "nowhere"):
        with pytest.raises(SetupError, match="holds no pictures"):
            list(sources.items(path))


def test_a_file_that_became_shorter_is_damaged(folder):
    path = given.shard(folder / "b.tar", [("1.png", RED)])
    [item] = sources.items(path)
    path.write_bytes(path.read_bytes()[:552])
    with pytest.raises(Damaged, match="ends after 40 of"):
        item.read()
