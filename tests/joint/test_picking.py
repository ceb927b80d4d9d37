"""Choosing rows of a batch."""

import tracemalloc

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


HUGE = ("0-100000000", "100000000-0", "0-999999999999999999", ",".join(["0-1000"] * 100_000))


@pytest.mark.parametrize("text", HUGE, ids=("up", "down", "beyond 64 bits", "many"))
def test_a_range_is_bounded_before_it_is_written_out(text):
    """A hundred million took 9 s and 4 GB; now it takes less than a MB beside the text."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="^Pick Pictures: .*more than 1024 pictures at `.{6,20}`") as caught:
            picking.parse_indices(text)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 1e6 + 60 * len(text) and len(str(caught.value)) < 300


def test_as_many_pictures_as_a_set_could_hold_are_written_out():
    assert picking.parse_indices("0-1023") == list(range(1024))


@pytest.mark.parametrize("text", ("9" * 5000, "x" * 5000, "0-" + "9" * 5000))
def test_long_nonsense_is_refused_in_few_words(text):
    with pytest.raises(ValueError, match="^Pick Pictures: .*needs numbers and ranges") as caught:
        picking.parse_indices(text)
    assert len(str(caught.value)) < 300


def test_pictures_to_make_again_are_counted_through_the_sets_from_1():
    assert picking.known_rows(LAYOUT, "2, 4") == (0, 3)
    assert picking.known_rows(LAYOUT, "2-4") == (0,)
    assert picking.known_rows(LAYOUT, "1-4") == picking.known_rows(LAYOUT, " ") == ()


@pytest.mark.parametrize("redo", ("0", "0-2", "a", "1,,2", "-1"))
def test_what_is_no_number_of_a_picture_is_refused(redo):
    with pytest.raises(ValueError, match="^Joint Set: `redo` holds '.*', but needs numbers of pictures and ranges, from 1"):
        picking.known_rows(LAYOUT, redo)


def test_pictures_to_make_again_that_are_not_there_are_refused():
    with pytest.raises(ValueError, match="^Joint Set: `redo` asks for picture 5, but there are 4: 2 sets of 2"):
        picking.known_rows(LAYOUT, "1, 5")
    with pytest.raises(ValueError, match="^Joint Set: `redo` names more than 1024 pictures at `1-99999999`"):
        picking.known_rows(LAYOUT, "1-99999999")
