"""What one process makes of pictures: with the demo's finder, and with Grounding DINO, Segment Anything and BLIP-2."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from same_subject.dev import pack
from same_subject.dev.setup.errors import SetupError
from same_subject.research.labels import demo, rle, statistics, toy_words
from same_subject.research.labels.sources import Item
from same_subject.research.labels.worker import Labeller, Settings
from same_subject.tests.research.labels.host import given
from same_subject.tests.tiny import captioner, planted_grounding, planted_segmenting

SCENES = str(pack.ROOT / "demo" / "scenes.safetensors")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("labels")


@pytest.fixture(scope="module")
def tagger(folder):
    return str(toy_words.save(folder / "tagger", ("green", "blue", "zebra", "dog")))


@pytest.fixture(scope="module")
def toys(tagger):
    return Labeller(Settings(SCENES, tagger=tagger))


@pytest.fixture(scope="module")
def drawn(folder):
    (folder / "toys").mkdir()
    return folder / "toys", demo.draw(folder / "toys", 12)


def item(path, caption=None):
    return Item(path.name, str(path), caption=path.with_suffix(".txt").read_text() if caption is None else caption)


def test_drawn_toys_get_their_class_box_and_mask(toys, drawn):
    folder, truth = drawn
    for name in ("000001.png", "000006.png"):  # a ball and another toy; a heart
        record = toys.label(item(folder / name))
        assert record["outcome"] == statistics.KEPT
        wanted = [toy for toy in truth[name] if toy.shape != "star"]
        assert sorted(entity["class"] for entity in record["entities"]) == sorted(toy.shape for toy in wanted)
        for entity in record["entities"]:
            mask = rle.decode(entity["mask"], record["height"], record["width"])
            overlaps = [((mask & toy.mask).sum() / (mask | toy.mask).sum()).item() for toy in wanted]
            assert max(overlaps) > 0.9 and wanted[int(np.argmax(overlaps))].shape == entity["class"]
            rows, columns = mask.nonzero(as_tuple=True)
            edges = (columns.min() / record["width"], rows.min() / record["height"])
            assert entity["box"][:2] == pytest.approx([float(edge) for edge in edges], abs=0.04)


def test_filter_6_drops_stars_and_without_it_they_are_labelled(toys, drawn, tagger):
    folder, truth = drawn
    name = next(name for name, shown in truth.items() if [toy.shape for toy in shown] == ["star"])
    record = toys.label(item(folder / name))
    assert record["outcome"] == statistics.NOTHING_LEFT and record["dropped"] == {"6": 1} and record["entities"] == []
    record = Labeller(Settings(SCENES, tagger=tagger, off=(6,))).label(item(folder / name))
    assert [entity["class"] for entity in record["entities"]] == ["star"] and record["dropped"] == {}


def test_outcomes_of_pictures_that_give_no_label(toys, drawn, tagger, tmp_path):
    folder, _ = drawn
    path = folder / "000000.png"
    assert toys.label(item(path, ""))["outcome"] == statistics.NO_CAPTION
    assert toys.label(item(path, "of the"))["outcome"] == statistics.NO_NOUNS
    assert toys.label(item(path, "a dog"))["outcome"] == statistics.NOTHING_FOUND
    (tmp_path / "broken.png").write_bytes(path.read_bytes()[:300])
    broken = toys.label(item(tmp_path / "broken.png", "a ball"))
    assert broken["outcome"] == statistics.DAMAGED and "truncated" in broken["reason"]
    small = Labeller(Settings(SCENES, tagger=tagger, least_side=64))
    assert small.label(item(path))["outcome"] == statistics.SMALL
    assert Labeller(Settings(SCENES, tagger=tagger, least_side=63)).label(item(path))["outcome"] != statistics.SMALL


def test_a_word_that_the_picture_does_not_show_gets_no_label(toys, drawn):
    folder, truth = drawn
    name = next(name for name, shown in truth.items() if [toy.shape for toy in shown] == ["ball"])
    assert toys.label(item(folder / name, "a heart"))["outcome"] in (statistics.NOTHING_FOUND, statistics.NOTHING_LEFT)
    assert [entity["class"] for entity in toys.label(item(folder / name, "a heart and a ball"))["entities"]] == ["ball"]


def test_more_nouns_than_the_detector_reads_are_read_in_several_captions(toys):
    names = [f"{first} {second}" for first in "abcdefghijklm" for second in "nopqrstuvwxyz"]
    spans = [span for ids, span in toys.captions(names) if len(ids) <= 256]
    assert len(spans) > 1 and [name for span in spans for name in span] == names
    assert toys.captions(["?"]) == []


def test_grounding_dino_segment_anything_and_blip2_work_together(folder, tagger):
    detector = planted_grounding.save_folder(folder / "dino")
    torch.save(planted_segmenting.segment_anything().state_dict(), folder / "sam.pth")
    blip2 = captioner.save_folder(folder / "blip2")
    picture = planted_grounding.scene((1, 2, 8, 9), (11, 1, 18, 8), scale=2)
    written = io.BytesIO()
    Image.fromarray((picture[0] * 255).round().to(torch.uint8).numpy()).save(written, "PNG")
    path = folder / "blobs.png"
    path.write_bytes(written.getvalue())
    settings = Settings(str(detector), str(folder / "sam.pth"), tagger, str(blip2), off=(2, 4, 6))
    labeller = Labeller(settings)
    record = labeller.label(item(path, "a green and a blue zebra"))
    assert record["caption"] == "a green and a blue zebra", "a caption that is given stays"
    assert labeller.label(item(path, ""))["caption"], "one that is not is written"
    assert set(record["dropped"]) <= {"1", "3", "5", "7"} and record["dropped"]["3"] > 0
    record = labeller.label(item(path, "green and blue"))
    assert record["outcome"] == statistics.KEPT
    for name, edges in (("green", (1 / 20, 8 / 20)), ("blue", (11 / 20, 18 / 20))):
        boxes = [entity["box"] for entity in record["entities"] if entity["class"] == name]
        assert boxes and all(edges[0] <= (box[0] + box[2]) / 2 <= edges[1] for box in boxes)
    mask = rle.decode(record["entities"][0]["mask"], 160, 320)
    dark = picture[0].sum(dim=-1) < planted_segmenting.DARK
    assert (mask & dark).sum() / (mask | dark).sum() > 0.7


def test_blip2_may_write_all_captions(folder, tagger, drawn):
    blip2 = captioner.save_folder(folder / "other-blip2")
    labeller = Labeller(Settings(SCENES, tagger=tagger, blip2=str(blip2), recaption=True))
    assert labeller.label(item(drawn[0] / "000000.png", "of the"))["caption"] != "of the"


def test_models_that_cannot_be_loaded_end_the_run_with_their_own_sentence(tagger, tmp_path):
    (tmp_path / "broken.pth").write_bytes(given.picture())
    for settings, wrong in (
        (Settings(str(tmp_path / "broken.pth"), "", tagger), "label: Load Grounding DINO"),
        (Settings(SCENES, str(tmp_path / "broken.pth"), tagger), "label: Load Segment Anything"),
        (Settings(SCENES, tagger="no_such_pipeline"), "label: the spaCy pipeline"),
    ):
        with pytest.raises(SetupError, match=wrong):
            Labeller(settings)
