"""The JSON of a shard's entities, and what is refused in it."""

import json

import pytest
import torch
from same_subject.research.labels import entities, rle

MASK = torch.zeros(4, 6, dtype=torch.bool)
MASK[1:3, 2:5] = True


def said(**changes):
    one = {"class": "dog", "box": [0.25, 0.2, 0.9, 0.8], "score": 0.7, "mask": rle.encode(MASK)}
    return {"height": 4, "width": 6, "source": "a/b.jpg", "entities": [{**one, **changes}]}


def test_entities_come_back_with_class_box_mask_and_score():
    height, width, source, (dog,) = entities.read(json.dumps(said()))
    assert (height, width, source) == (4, 6, "a/b.jpg")
    assert (dog.name, dog.box, dog.score) == ("dog", (0.25, 0.2, 0.9, 0.8), 0.7)
    assert torch.equal(dog.mask, MASK)


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"class": ""}, "no class"),
        ({"class": 3}, "no class"),
        ({"box": [0.9, 0.2, 0.25, 0.8]}, "box of `dog`"),
        ({"box": [0.25, 0.2, 1.9, 0.8]}, "box of `dog`"),
        ({"box": [0.25, 0.2, 0.8]}, "box of `dog`"),
        ({"box": [True, 0.2, 0.9, 0.8]}, "box of `dog`"),
        ({"score": 1.5}, "score of `dog`"),
        ({"score": None}, "score of `dog`"),
        ({"mask": {"size": [6, 4], "counts": [24]}}, "mask's size"),
        ({"mask": None}, "mask's size"),
    ],
)
def test_an_entity_with_a_wrong_part_is_refused(changes, wrong):
    with pytest.raises(ValueError, match=wrong):
        entities.read(json.dumps(said(**changes)))


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"height": 4}', "[" * 100_000, '{"score": NaN}'])
def test_what_are_no_entities_is_refused(text):
    with pytest.raises(ValueError):
        entities.read(text)


def test_numbers_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="score"):
        entities.read(json.dumps(said(score=float("nan"))))
    with pytest.raises(ValueError, match="another kind"):
        entities.read(json.dumps({**said(), "height": 10**9}))
