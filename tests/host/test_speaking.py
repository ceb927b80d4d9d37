"""Who says what a node's function refuses."""

import pytest
from same_subject.nodes.host.speaking import said_by


def said(problem, **how):
    with pytest.raises(type(problem)) as caught, said_by("Long", ("Part", "Part of Two"), **how):
        raise problem
    return str(caught.value)


def test_what_a_part_refuses_is_said_by_the_node_that_holds_it():
    assert said(ValueError("Part: 3 were given: too many.")) == "Long: 3 were given: too many."
    assert said(ValueError("Part of Two: none.")) == "Long: none."
    assert said(ValueError("Part: Part: twice."), reworded=str.upper) == "Long: PART: TWICE."


@pytest.mark.parametrize("problem", ["Other: none.", "none", "", "Party: none.", "the Part: none.", "Part"])
def test_what_no_part_says_stays_as_it_was(problem):
    assert said(ValueError(problem), reworded=str.upper) == problem


def test_what_is_no_refusal_stays_what_it_was():
    assert said(RuntimeError("Part: out of memory")) == "Part: out of memory"
