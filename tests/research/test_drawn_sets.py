"""The demo world as sources: sets in different scenes, and clips that share theirs."""

import pytest
from same_subject.nodes.data.opening import open_source
from same_subject.research.drawn_sets import KINDS


def corners(one):
    return [picture.getpixel((1, 1)) for picture in one.pictures]


def test_a_toy_is_shown_in_different_scenes_and_in_a_clip_in_one():
    many = list(open_source("demo:6", more=KINDS).sets(0, 0))
    clips = list(open_source("demo-clips:6", more=KINDS).sets(0, 0))
    assert [len(one) for one in (*many, *clips)] == [4] * 12
    assert all(len(set(one.captions)) == 4 for one in many) and all(len(set(one.captions)) == 1 for one in clips)
    assert all(len(set(corners(one))) == 1 for one in clips) and all(len(set(corners(one))) > 1 for one in many)
    assert all(len({picture.tobytes() for picture in one.pictures}) == 4 for one in clips), "the toy moves"
    assert {one.name.split()[-1]: one.about for one in many} == {one.name.split()[-1]: one.about for one in clips}


def test_the_same_seed_draws_the_same_and_a_number_is_needed():
    first, again = (next(open_source("demo:3", most=2, more=KINDS).sets(4, 1)) for _ in range(2))
    assert [one.tobytes() for one in first.pictures] == [one.tobytes() for one in again.pictures] and len(first) == 2
    with pytest.raises(ValueError, match="demo:many was given"):
        open_source("demo:many", more=KINDS)
