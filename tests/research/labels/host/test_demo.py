"""How the demo's labels are judged: what is right, what is wrong, what is missing."""

import pytest
import torch
from same_subject.research.labels import demo
from same_subject.research.labels.entities import Entity
from same_subject.research.labels.shards import Example


def square(left, top, side=8):
    mask = torch.zeros(24, 48, dtype=torch.bool)
    mask[top : top + side, left : left + side] = True
    return mask


def entity(name, mask, box=None):
    rows, columns = mask.nonzero(as_tuple=True)
    around = (columns.min() / 48, rows.min() / 24, (columns.max() + 1) / 48, (rows.max() + 1) / 24)
    return Entity(name, tuple(map(float, box or around)), mask, 0.9)


TRUTH = {"a": [demo.Toy("ball", square(2, 2)), demo.Toy("star", square(30, 2))]}


def scored(*entities):
    return demo.scored([Example("a", torch.zeros(3, 24, 48), "", entities)], TRUTH)


def test_a_label_is_right_where_class_mask_and_box_are_a_toys():
    scores = scored(entity("ball", square(3, 2)), entity("star", square(30, 2)))
    assert (scores["ball"].precision, scores["ball"].recall) == (1, 1)
    assert scores["ball"].overlap == pytest.approx(56 / 72) and scores["star"].overlap == 1


@pytest.mark.parametrize(
    "wrong",
    [
        entity("star", square(2, 2)),
        entity("ball", square(2, 12)),
        entity("ball", square(2, 2), box=(0.5, 0, 1, 1)),
        entity("photo", square(2, 2)),
    ],
)
def test_another_class_place_or_box_is_wrong_and_leaves_the_toy_without_a_label(wrong):
    scores = scored(wrong)
    assert scores[wrong.name].precision == 0 and scores["ball"].recall == 0


def test_of_two_labels_of_one_toy_one_is_wrong():
    score = scored(entity("ball", square(2, 2)), entity("ball", square(2, 3)))["ball"]
    assert (score.precision, score.recall) == (0.5, 1)


def test_without_labels_there_is_no_precision():
    scores = scored()
    assert scores["ball"].precision is None and scores["ball"].recall == 0
    assert "-" in demo.table({"all filters": scores})


def test_all_shapes_together_are_counted_not_averaged():
    whole = demo.together(scored(entity("ball", square(2, 2)), entity("ball", square(2, 12))))
    assert (whole.labels, whole.right, whole.drawn) == (2, 1, 2)


def test_the_same_number_draws_the_same_pictures_and_some_captions_name_what_is_not_there(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    truth, again = (demo.draw(tmp_path / name, 11) for name in ("one", "other"))
    for name, toys in truth.items():
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()
        assert [toy.shape for toy in toys] == [toy.shape for toy in again[name]]
        caption = (tmp_path / "one" / name).with_suffix(".txt").read_text()
        assert all(toy.shape in caption for toy in toys)
        assert (" with a " in caption) == (int(name[:6]) % demo.ABSENT == 0)
