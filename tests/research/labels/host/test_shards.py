"""Shards of labels: whole or not there, as other readers of WebDataset see them, and as a source of training."""

import io
import json
import os
import random

import numpy as np
import pytest
import torch
import webdataset
from PIL import Image
from same_subject.nodes.data import pictures
from same_subject.nodes.data.shards import write_samples
from same_subject.research.labels import shards
from same_subject.tests.research.labels.host import given


@pytest.fixture
def folder(tmp_path):
    """Two shards of three pictures, the third a JPEG that its EXIF turns."""
    exif = Image.Exif()
    exif[pictures.ORIENTATION] = 6
    for number in range(2):
        samples = []
        for place in range(3):
            path = tmp_path / f"{number}{place}.png"
            path.write_bytes(given.picture(colour=(40 * place, 100 * number, 7)))
            if place == 2:
                path.write_bytes(given.picture("JPEG", size=(12, 20), exif=exif))
            samples.append(shards.sample(3 * number + place, given.record(path, caption="a dög"), path.read_bytes()))
        write_samples(tmp_path / shards.name(number), samples)
    return tmp_path


def test_training_reads_picture_caption_and_entities(folder):
    examples = list(shards.examples(folder))
    assert [example.source for example in examples] == ["00.png", "01.png", "02.png", "10.png", "11.png", "12.png"]
    for example in examples:
        assert example.picture.shape == (3, 12, 20) and example.caption == "a dög"
        (dog,) = example.entities
        assert dog.name == "dog" and dog.box == (0.25, 0.25, 0.75, 0.75) and torch.equal(dog.mask, given.MASK)
    assert examples[4].picture[:, 5, 5].mul(255).tolist() == pytest.approx([40, 100, 7])


def test_shuffled_every_picture_comes_once_in_an_order_of_the_seed(folder):
    first, again, other = ([one.source for one in shards.examples(folder, random.Random(seed))] for seed in (0, 0, 3))
    assert first == again != other and sorted(first) == sorted(other) == [
        "00.png",
        "01.png",
        "02.png",
        "10.png",
        "11.png",
        "12.png",
    ]


def test_webdataset_reads_the_same(folder):
    paths = sorted(map(str, folder.glob("*.tar")))
    for seen, example in zip(webdataset.WebDataset(paths, shardshuffle=False), shards.examples(folder), strict=True):
        kind = next(name for name in ("png", "jpg") if name in seen)
        with Image.open(io.BytesIO(seen[kind])) as picture:
            assert np.array_equal(np.asarray(picture.convert("RGB")) / np.float32(255), example.picture.movedim(0, -1))
        assert seen["caption.txt"].decode() == example.caption
        assert json.loads(seen["entities.json"])["entities"][0]["class"] == example.entities[0].name


def test_a_shard_is_whole_or_not_there(tmp_path):
    path = tmp_path / shards.name(0)

    def broken():
        yield "000000000", {"png": given.picture()}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_samples(path, broken())
    assert not path.exists() and os.listdir(tmp_path) == [path.name + shards.PART]


def test_a_folder_without_shards_and_damaged_ones_are_refused(folder, tmp_path_factory):
    with pytest.raises(ValueError, match="holds no labelled pictures"):
        next(shards.examples(tmp_path_factory.mktemp("empty")))
    whole = (folder / shards.name(1)).read_bytes()
    (folder / shards.name(1)).write_bytes(whole[:3000])
    with pytest.raises(ValueError, match="labels-000001.tar is damaged"):
        list(shards.examples(folder))
    (folder / shards.name(1)).write_bytes(whole.replace(b'"score":0.5', b'"score":7.5', 1))
    with pytest.raises(ValueError, match="sample 000000003: the score of `dog` is 7.5"):
        list(shards.examples(folder))
    given.shard(folder / shards.name(1), [("7.png", given.picture()), ("7.caption.txt", b"a dog")])
    with pytest.raises(ValueError, match="sample 7: it has no entities.json"):
        list(shards.examples(folder))


def test_entities_of_another_size_than_the_picture_are_refused(folder):
    path = folder / "00.png"
    record = {**given.record(path), "height": 12, "width": 20}
    write_samples(folder / shards.name(1), [shards.sample(3, record, given.picture(size=(40, 24)))])
    with pytest.raises(ValueError, match="40 x 24 pixels, but its entities 20 x 12"):
        list(shards.examples(folder))
