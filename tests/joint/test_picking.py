"""Choosing rows of a batch."""

import pytest
from same_subject.nodes.joint import picking
from same_subject.nodes.joint.layout import Layout

LAYOUT = Layout(sets=2, pictures=2, references=1)


def test_numbers_and_ranges_keep_their_order():
    assert picking.parse_indices("0, 2-4,1") == [0, 2, 3, 4, 1]
    assert picking.parse_indices("3-1") == [3, 2, 1]


@pytest.mark.parametrize("text", ("", "a", "1,,2", "-1", "1.5", "1-"))
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match="needs numbers and ranges"):
        picking.parse_indices(text)


def test_generated_references_and_places_within_each_set():
    assert picking.rows(LAYOUT, "generated", "") == [0, 1, 3, 4]
    assert picking.rows(LAYOUT, "references", "") == [2, 5]
    assert picking.rows(LAYOUT, "index", "2,0") == [2, 0, 5, 3]


def test_places_beyond_the_set_are_refused():
    with pytest.raises(ValueError, match="`indices` asks for 3 .0 is picture 1., but a set has 0 to 2: 2 generated"):
        picking.rows(LAYOUT, "index", "3")
