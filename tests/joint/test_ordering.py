"""An order that a user chose."""

import pytest
from same_subject.nodes.joint.ordering import ordered, parse_order


@pytest.mark.parametrize("text", ("3, 1, 2", "3,1,2", " 3 1 2 ", "3; 1; 2,"))
def test_an_order_counts_from_one(text):
    assert parse_order(text) == [2, 0, 1] and ordered("abc", text) == ["c", "a", "b"]


def test_without_an_order_things_stay_as_they_are():
    assert ordered("abc", "") == ordered("abc", " \n") == ordered("abc", "1, 2, 3") == ["a", "b", "c"]


@pytest.mark.parametrize("text", ("2, 2", "0, 1", "1, 3", "-1, 2", "one", "1.0", "1, 2, x", "9" * 5000, "²"))
def test_what_is_no_order_is_refused_with_the_remedy(text):
    with pytest.raises(ValueError, match="^Reference Pictures: `order` is .* needs each number .*Write such numbers, or empty"):
        parse_order(text)


def test_an_order_of_another_number_of_pictures_is_refused_with_both_numbers():
    with pytest.raises(
        ValueError, match="`2, 1`, 2 numbers, but 3 pictures were given, so it needs each number from 1 to 3 once"
    ):
        ordered("abc", "2, 1")
    with pytest.raises(ValueError, match="2 numbers, but 1 picture was given, so it needs 1. Write that, or empty"):
        ordered("a", "2, 1")
