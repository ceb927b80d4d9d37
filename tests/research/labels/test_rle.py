"""Masks as run lengths in COCO's form."""

import pytest
import torch
from same_subject.research.labels import rle


def test_runs_go_down_the_columns_and_begin_outside():
    mask = torch.tensor([[0, 1, 1], [0, 0, 1]], dtype=torch.bool)
    assert rle.encode(mask) == {"size": [2, 3], "counts": [2, 1, 1, 2]}
    assert rle.encode(~mask) == {"size": [2, 3], "counts": [0, 2, 1, 1, 2]}


@pytest.mark.parametrize("share", [0.0, 0.03, 0.5, 1.0])
def test_a_mask_comes_back_as_it_was(share):
    mask = torch.rand(37, 53, generator=torch.Generator().manual_seed(0)) < share
    assert torch.equal(rle.decode(rle.encode(mask), 37, 53), mask)


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ({"size": [3, 2], "counts": [6]}, "size"),
        ({"size": [2, 3], "counts": [5]}, "add up to 5"),
        ({"size": [2, 3], "counts": [7, -1]}, "whole numbers"),
        ({"size": [2, 3], "counts": [6.0]}, "whole numbers"),
        ({"size": [2, 3], "counts": "06"}, "whole numbers"),
        ([6], "size"),
    ],
)
def test_what_is_no_mask_of_the_picture_is_refused(said, wrong):
    with pytest.raises(ValueError, match=wrong):
        rle.decode(said, 2, 3)
