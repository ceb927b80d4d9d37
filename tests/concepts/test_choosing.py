"""Which box is the concept's: orders, positions, equal phrases, and refusals."""

import re

import pytest
import torch
from same_subject.nodes.concepts import choosing
from same_subject.nodes.concepts.boxes import Box, without_duplicates
from same_subject.nodes.concepts.detection import Found, Thresholds, boxes_by_phrase

SMALL = Box(40, 0, 50, 10, 0.9)
LARGE = Box(0, 0, 30, 30, 0.6)
RIGHT = Box(70, 40, 90, 60, 0.5)
MEN = Found([SMALL, LARGE, RIGHT], 0.9)


def choose(phrases, found, order="best score", index=0, point=(0, 0), missing="error"):
    return choosing.choose(phrases, found, choosing.Rule(order, index, point, missing), Thresholds(), "picture 1")


@pytest.mark.parametrize(
    "order, expected",
    (
        ("best score", [SMALL, LARGE, RIGHT]),
        ("largest", [LARGE, RIGHT, SMALL]),
        ("left to right", [LARGE, SMALL, RIGHT]),
        ("nearest to point", [RIGHT, SMALL, LARGE]),
    ),
)
def test_index_counts_in_the_chosen_order(order, expected):
    for index, box in enumerate(expected):
        assert choose(["a man"], {"a man": MEN}, order, index, (80, 50)) == [box]


def test_equal_phrases_take_distinct_instances_from_left_to_right():
    assert choose(["a man"] * 3, {"a man": MEN}) == [LARGE, SMALL, RIGHT]
    assert choose(["a man"] * 2, {"a man": MEN}, "best score") == [LARGE, SMALL]
    assert choose(["a man"] * 2, {"a man": MEN}, "best score", 1) == [LARGE, RIGHT]
    between = choose(["a man", "a dog", "a man"], {"a man": MEN, "a dog": Found([Box(0, 80, 9, 99, 0.5)], 0.5)})
    assert between == [LARGE, Box(0, 80, 9, 99, 0.5), SMALL]


def test_a_phrase_that_finds_nothing_is_refused_with_its_best_score_and_the_threshold():
    with pytest.raises(
        ValueError, match="nothing was found for `a zebra` in picture 1: its best score was 0.123, but `box_threshold` is 0.350"
    ):
        choose(["a zebra"], {"a zebra": Found([], 0.1234, 0.1234)})
    with pytest.raises(ValueError, match="every box of `a boy` in picture 1 fits `a man` better"):
        choose(["a boy"], {"a boy": Found([], 0.5, 0.0, "a man")})
    with pytest.raises(ValueError, match="3 boxes found for `a man` in picture 1, but 2 concepts with `index` 2 need 4"):
        choose(["a man"] * 2, {"a man": MEN}, index=2)


SPANS = {"a dog": range(0, 2), "a red dog": range(2, 5)}


def search(scores, box_threshold, text_threshold, *only):
    """What is chosen for the phrases on boxes side by side. scores: [Q, 5], of the words of SPANS."""
    count = len(scores)
    boxes = torch.tensor([[(number + 0.5) / count, 0.5, 1 / count, 1.0] for number in range(count)])
    thresholds, spans = Thresholds(box_threshold, text_threshold), {name: SPANS[name] for name in only or SPANS}
    found = boxes_by_phrase(torch.tensor(scores).logit(), boxes, spans, 100 * count, 100, thresholds)
    return choosing.choose(list(spans), found, choosing.Rule(), thresholds, "picture 1")


@pytest.mark.parametrize(
    "scores, box_threshold, text_threshold, lower, value",
    (
        ([[0.1, 0.8, 0.1, 0.1, 0.1], [0.1, 0.1, 0.1, 0.1, 0.123]], 0.35, 0.25, "`box_threshold` and `text_threshold`", 0.12),
        ([[0.1, 0.8, 0.1, 0.1, 0.1], [0.1, 0.1, 0.1, 0.3, 0.1]], 0.35, 0.25, "`box_threshold`", 0.29),
        ([[0.1, 0.8, 0.1, 0.1, 0.1], [0.1, 0.1, 0.1, 0.4, 0.1]], 0.35, 0.5, "`text_threshold`", 0.39),
        ([[0.1, 0.8, 0.1, 0.1, 0.5], [0.1, 0.1, 0.1, 0.29, 0.1]], 0.35, 0.25, "`box_threshold`", 0.28),  # lost to a rival
        ([[0.1, 0.3, 0.1, 0.1, 0.29], [0.1, 0.1, 0.1, 0.1, 0.2], [0.1, 0.9, 0.1, 0.1, 0.1]], 0.35, 0.1, "`box_threshold`", 0.19),
    ),
)
def test_the_thresholds_that_a_refusal_names_give_the_phrase_a_box(scores, box_threshold, text_threshold, lower, value):
    with pytest.raises(ValueError, match="`a red dog`") as caught:
        search(scores, box_threshold, text_threshold)
    said = re.search(r"lower (.*?) to (\d\.\d\d), ", str(caught.value))
    assert said[1] == lower and float(said[2]) == value
    changed = {"box_threshold": box_threshold, "text_threshold": text_threshold}
    changed |= {name: float(said[2]) for name in changed if f"`{name}`" in said[1]}
    dog, red_dog = search(scores, **changed)
    assert red_dog.left != dog.left


def test_a_phrase_that_loses_every_box_is_found_by_a_node_of_its_own():
    scores = [[0.1, 0.8, 0.1, 0.1, 0.5], [0.1, 0.7, 0.1, 0.4, 0.6]]
    with pytest.raises(ValueError, match="every box of `a red dog` in picture 1 fits `a dog` better .* of its own") as caught:
        search(scores, 0.35, 0.25)
    assert "lower" not in str(caught.value), "no threshold would help"
    (alone,) = search(scores, 0.35, 0.25, "a red dog")
    (dog,) = search(scores, 0.35, 0.25, "a dog")
    choosing.check_distinct(["a dog", "a red dog"], [dog, alone], "picture 1")


def test_an_empty_concept_is_given_only_where_it_is_asked_for():
    found = {"a man": MEN, "a zebra": Found([], 0.1)}
    assert choose(["a zebra", "a man"], found, missing="empty concept") == [None, SMALL]
    assert choose(["a man"] * 4, found, missing="empty concept") == [LARGE, SMALL, RIGHT, None]


def test_two_phrases_on_one_instance_are_refused():
    near = Box(0, 0, 30, 29, 0.7)
    with pytest.raises(ValueError, match="`a man` and `a boy` were found at one and the same place in picture 1"):
        choose(["a man", "a boy"], {"a man": Found([LARGE], 0.6), "a boy": Found([near], 0.7)})


def test_boxes_of_one_place_count_once_and_the_best_stays():
    twin = Box(0, 0, 30, 29, 0.3)
    assert without_duplicates([twin, RIGHT, LARGE], 0.7) == [LARGE, RIGHT]
    assert without_duplicates([twin, RIGHT, LARGE], 0.99) == [LARGE, RIGHT, twin]
    assert LARGE.overlap(twin) == pytest.approx(29 / 30) and LARGE.overlap(RIGHT) == 0


def test_a_box_becomes_the_hosts_bounding_box():
    assert Box(1.4, 2.6, 11.2, 8.5, 0.5).as_dict("a man") == {
        "x": 1, "y": 3, "width": 10, "height": 5, "score": 0.5, "label": "a man",
    }  # fmt: skip
    assert Box(-5, -5, 200, 20).clipped(100, 50).corners == (0, 0, 100, 20)
