"""The shards are what the webdataset package reads, and what it writes is read."""

import io

import webdataset
from PIL import Image
from same_subject.nodes.data import shards
from same_subject.nodes.data.examples import PictureSet
from same_subject.nodes.data.opening import open_source
from same_subject.nodes.data.pictures import decode
from same_subject.tests.data import given

PAIR = decode(given.picture()), decode(given.picture(colour=(20, 30, 200)))


def test_its_reader_finds_each_set_with_pictures_texts_and_what_is_known(tmp_path):
    shards.write(tmp_path / "a.tar", [PictureSet(f"{n:03d}", PAIR, ("a car", "the car"), {"subject": n}) for n in range(3)])
    read = list(webdataset.WebDataset(str(tmp_path / "a.tar"), shardshuffle=False).decode("pil"))
    assert [one["__key__"] for one in read] == ["000", "001", "002"]
    one = read[2]
    assert one["1.png"].getpixel((3, 3)) == (200, 30, 40) and one["2.txt"] == "the car" and one["json"] == {"subject": 2}


def test_what_its_writer_wrote_is_a_source(tmp_path):
    with webdataset.TarWriter(str(tmp_path / "a.tar")) as writer:
        for number in range(2):
            writer.write({"__key__": f"{number}", "1.png": PAIR[0], "1.txt": "a car", "2.png": PAIR[1], "2.txt": "b"})
        writer.write({"__key__": "9", "jpg": PAIR[0], "txt": "alone"})
    found = {one.name: one.captions for one in open_source(tmp_path).sets(0, 0)}
    assert found == {"a.tar/0": ("a car", "b"), "a.tar/1": ("a car", "b"), "a.tar/9": ("alone",)}
    assert Image.open(io.BytesIO(shards.encoded(PAIR[1], "jpg"))).format == "JPEG"
