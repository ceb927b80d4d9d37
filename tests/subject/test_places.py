"""Where a user wants a subject: each kind of place as a box in shares of the picture, and wrong ones refused at the node."""

from types import SimpleNamespace

import pytest
import torch
from same_subject.nodes.subject.places import Wanted
from same_subject.nodes.subject.where import Anywhere

NUMBERS = {"x": 0.25, "y": 0.1, "width": 0.5, "height": 0.6, "seed": 7}


def wanted(kind, **given):
    return Wanted(**{"kind": kind, **NUMBERS, **given}).place()


def mask(*corners, height=40, width=80):
    """[1, H, W], white from left, top to right, bottom."""
    left, top, right, bottom = corners
    made = torch.zeros(1, height, width)
    made[:, top:bottom, left:right] = 1
    return made


def found(*corners, phrases=("dog", "cat"), pictures=1):
    box = SimpleNamespace(corners=corners) if corners else None
    return SimpleNamespace(phrases=phrases, chosen=[(None, box)] * pictures, pictures=torch.zeros(pictures, 40, 80, 3))


def test_each_kind_of_place_is_a_box_in_shares():
    assert wanted("box") == pytest.approx((0.25, 0.1, 0.75, 0.7))
    assert wanted("mask", where=mask(8, 10, 24, 40)) == (0.1, 0.25, 0.3, 1.0)
    assert wanted("found", boxes=found(8, 10, 24, 40), concept=2) == (0.1, 0.25, 0.3, 1.0)
    assert wanted("found", boxes=found(-4, 10, 90, 40), concept=2) == (0.0, 0.25, 1.0, 1.0), "a detector may leave the picture"
    assert wanted("its own picture") is None
    assert wanted("anywhere") == Anywhere(7)


WRONG = {
    "the box goes from 0.7, 0.1 to 1.2, 0.7, but needs .* `width`": ("box", {"x": 0.7}),
    "the box goes from 0.25, 0.1 to 0.75, 0.1, but needs": ("box", {"height": 0.0}),
    "`place` is `mask`, which needs `where`. Connect it": ("mask", {}),
    "`where` is connected, but `place` is `box`": ("box", {"where": mask(0, 0, 4, 4)}),
    "`where` is black everywhere": ("mask", {"where": mask(0, 0, 0, 0)}),
    "`where` holds 2 masks, but needs one": ("mask", {"where": mask(0, 0, 4, 4).expand(2, -1, -1)}),
    r"`concept` is 3, but `boxes` has 2 \(dog, cat\)": ("found", {"boxes": found(0, 0, 4, 4), "concept": 3}),
    "no place for concept 1, `dog`: it was not found": ("found", {"boxes": found(0, 0, 4, 4), "concept": 1}),
    "`boxes` is of 2 pictures, but needs one": ("found", {"boxes": found(0, 0, 4, 4, pictures=2), "concept": 2}),
}


@pytest.mark.parametrize("message", WRONG)
def test_a_place_that_cannot_be_is_refused_at_the_node(message):
    kind, given = WRONG[message]
    with pytest.raises(ValueError, match=f"^Subject: .*{message}"):
        wanted(kind, **given)
