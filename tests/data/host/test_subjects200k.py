"""Subjects200K as published: pairs cut apart, captions on their side, and poor or damaged rows counted."""

import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet
from same_subject.nodes.data import subjects200k
from same_subject.nodes.data.opening import open_source
from same_subject.nodes.data.pictures import Damaged
from same_subject.tests.data import given

R, B = (200, 30, 40), (20, 30, 200)
GOOD = {"compositeStructure": 5, "objectConsistency": 5, "imageQuality": 5}


def pair(side=512, margin=8):
    """Two pictures of one colour with a white margin around each, as a file."""
    height = side + 2 * margin
    picture = Image.new("RGB", (2 * height, height), "white")
    for start, colour in ((0, R), (height, B)):
        picture.paste(colour, (start + margin, margin, start + margin + side, margin + side))
    return given.bytes_of(picture)


def row(data, item="Cup", quality=GOOD):
    said = {"item": item, "description_0": f"{item} left.", "description_1": f"{item}\n right."}
    return {
        "image": {"bytes": data, "path": None},
        "collection": "collection_2",
        "quality_assessment": quality,
        "description": {**said, "category": "x", "description_valid": True},
    }


def write(path, rows, group=2):
    parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=group)
    return path


def test_pairs_are_cut_apart_without_their_margins(tmp_path):
    write(tmp_path / "train-00000-of-00001.parquet", [row(pair(), "Cup"), row(pair(), "Hat"), row(pair(), "Bag")])
    source = open_source(tmp_path)
    assert source.kind == "subjects200k" and len(source.parts()) == 2
    read = {one.about["subject"]: one for one in source.sets(0, 0)}
    assert set(read) == {"Cup", "Hat", "Bag"}
    one = read["Cup"]
    assert one.captions == ("Cup left.", "Cup right.")
    assert one.about == {"subject": "Cup", "category": "x", "collection": "collection_2"}
    for picture, colour in zip(one.pictures, (R, B), strict=True):
        assert picture.size == (512, 512) and picture.getcolors() == [(512 * 512, colour)]


def test_the_data_set_is_read_where_hugging_face_downloads_it(tmp_path):
    data = write(tmp_path / "made.parquet", [row(pair())]).read_bytes()
    name = "data/train-00000-of-00001.parquet"
    folder = given.snapshot(tmp_path / "datasets--Yuanshi--Subjects200K", {name: data})
    for source in (open_source(folder), open_source(folder / name)):
        assert len(list(source.sets(0, 0))) == 1 and not source.skipped


def test_all_published_sizes_are_known_and_no_other():
    for side, margin in ((512, 8), (1024, 8), (512, 0), (1024, 0)):
        left, _ = subjects200k.halves(subjects200k.decode(pair(side, margin)))
        assert left.size == (side, side) and left.getcolors() == [(side * side, R)]
    for size in ((1056, 520), (1040, 520), (528, 528)):
        with pytest.raises(Damaged, match="no pair of squares"):
            subjects200k.halves(Image.new("RGB", size))


def test_poor_unjudged_and_damaged_rows_are_counted(tmp_path):
    data = pair()
    rows = [row(data), row(data, quality={**GOOD, "imageQuality": 4}), row(data, quality=None), row(data[:2000]), row(None)]
    source = open_source(write(tmp_path / "a.parquet", rows))
    assert len(list(source.sets(0, 0))) == 1
    assert source.skipped == {
        "its authors judged its quality below 5": ["a.parquet#1/2"],
        "its quality was not judged": ["a.parquet#2/1"],
        "it cannot be read": source.skipped["it cannot be read"],
        "there is no picture in its row": ["a.parquet#3/1"],
    }
    assert source.skipped["it cannot be read"][0].startswith("a.parquet#2/2: ")


def test_a_damaged_file_is_counted_and_one_with_other_columns_refused(tmp_path):
    whole = write(tmp_path / "a.parquet", [row(pair())]).read_bytes()
    (tmp_path / "b.parquet").write_bytes(whole[:500])
    source = open_source(tmp_path)
    assert len(list(source.sets(0, 0))) == 1
    assert [name.partition(":")[0] for name in source.skipped["the file is damaged"]] == ["b.parquet"]
    parquet.write_table(pyarrow.table({"path": ["a.png"]}), tmp_path / "c.parquet")
    with pytest.raises(ValueError, match="has the columns path, but Subjects200K has `image` and `description`"):
        list(open_source(tmp_path / "c.parquet").sets(0, 0))


def test_a_row_group_that_memory_could_not_hold_is_left_out(tmp_path, monkeypatch):
    write(tmp_path / "a.parquet", [row(pair())])
    monkeypatch.setattr(subjects200k, "MOST_GROUP", 1000)
    source = open_source(tmp_path)
    assert not list(source.sets(0, 0)) and source.skipped == {"its row groups have more than 1000 bytes": ["a.parquet"]}
