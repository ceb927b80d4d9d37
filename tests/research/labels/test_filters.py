"""The seven filters: each drops what is beyond its number, keeps what is at it, and is counted alone."""

import pytest
from same_subject.nodes.concepts.boxes import Box
from same_subject.research.labels import filters
from same_subject.research.labels.filters import Candidate

WIDTH, HEIGHT = 1000, 500


def found(name="dog", left=0, top=0, width=200, height=200, score=0.5, plural=False):
    return Candidate(name, Box(left, top, left + width, top + height, score), plural)


def passed(*candidates, off=()):
    kept, dropped = filters.by_box(candidates, WIDTH, HEIGHT, off)
    return kept, {number: count for number, count in dropped.items() if count}


@pytest.mark.parametrize(
    ("number", "kept", "gone"),
    [
        (1, found(width=105, height=350), found(width=104, height=350)),
        (1, found(width=450, height=150), found(width=451, height=150)),
        (2, found(width=200, height=125), found(width=199, height=125)),
        (2, found(width=875, height=400), found(width=876, height=400)),
        (5, found(score=0.2), found(score=0.199)),
    ],
)
def test_a_box_at_a_bound_stays_and_one_beyond_it_goes(number, kept, gone):
    assert passed(kept) == ([kept], {})
    assert passed(gone) == ([], {number: 1})
    assert passed(gone, off=(number,)) == ([gone], {})


def test_of_boxes_that_overlap_too_much_the_surest_stays_whatever_it_is_called():
    woman, person = found("woman", width=200, score=0.6), found("person", width=249, score=0.7)  # 200 / 249 > 0.8
    beside = found("girl", width=251, score=0.5)
    assert passed(woman, person) == ([person], {3: 1})
    assert passed(woman, found("person", width=251, score=0.7))[1] == {}
    assert passed(woman, person, off=(3,)) == ([woman, person], {})
    assert passed(woman, beside) == ([woman, beside], {})


def test_a_class_that_is_there_more_than_five_times_leaves_the_picture():
    row = [found(left=160 * number, width=160, height=160) for number in range(6)]
    cat = found("cat", top=200)
    assert passed(*row[:5], cat) == ([*row[:5], cat], {})
    assert passed(*row, cat) == ([cat], {4: 6})
    assert passed(*row, cat, off=(4,)) == ([*row, cat], {})


def test_unsure_and_doubled_boxes_do_not_make_a_class_too_frequent():
    five = [found(left=160 * number, width=160, height=160) for number in range(5)]
    doubled = found(left=0, width=165, height=165, score=0.4)
    unsure = found(left=800, width=160, height=160, score=0.1)
    assert passed(*five, doubled, unsure) == (five, {3: 1, 5: 1})


def test_groups_and_parts_of_the_body_go():
    for name in ("crowd", "group", "hand", "human hand"):
        assert passed(found(name)) == ([], {7: 1})
    for name in ("parking lot", "people", "clock hand", "handbag"):
        assert passed(found(name))[1] == {}
    assert passed(found("crowd"), off=(7,))[1] == {}


def test_a_plural_with_one_box_is_a_group_and_with_two_is_two_things():
    left, right = found(plural=True), found(left=300, plural=True)
    assert passed(left) == ([], {7: 1})
    assert passed(left, right) == ([left, right], {})
    assert passed(found(plural=False))[1] == {}


def test_an_entity_is_counted_by_the_first_filter_that_drops_it():
    assert passed(found(width=10, height=400, score=0.1)) == ([], {5: 1})
    assert passed(found(width=10, height=400)) == ([], {1: 1})


def test_a_mask_must_fill_three_fifths_of_its_box():
    box = Box(0, 0, 100, 50)
    assert filters.fills(box, 3000) and not filters.fills(box, 2999)


def test_every_filter_has_a_place_in_the_order_and_a_sentence():
    assert sorted(filters.ORDER) == sorted(filters.RULES) == [1, 2, 3, 4, 5, 6, 7]
