"""Boxes of subjects, and the channel that says where they are."""

import pytest
import torch
from same_subject.nodes.subject import where

LEFT, RIGHT = (0.0, 0.25, 0.5, 1.0), (0.5, 0.0, 1.0, 0.5)


def test_the_channel_is_0_inside_any_box_and_1_outside():
    found = where.channel([LEFT, RIGHT], 4, 6)
    assert found.shape == (1, 1, 4, 6)
    assert found[0, 0].tolist() == [[1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0], [0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1]]
    assert where.channel([], 2, 2).eq(1).all()


def test_a_box_between_the_middles_of_cells_takes_one():
    found = where.channel([(0.30, 0.30, 0.34, 0.34)], 4, 4)
    assert (found == 0).sum() == 1 and found[0, 0, 1, 1] == 0


@pytest.mark.parametrize("box", [(-0.1, 0, 1, 1), (0, 0, 1.01, 1), (0.5, 0, 0.5, 1), (0, 0.9, 1, 0.1), (0, 0, float("nan"), 1)])
def test_a_box_outside_of_the_picture_is_refused(box):
    with pytest.raises(ValueError, match="^Apply Subjects: the box of subject 2 .* as shares of the picture"):
        where.check([LEFT, box])


def test_boxes_that_cover_each_other_are_refused_and_neighbours_are_not():
    where.check([LEFT, RIGHT])
    assert where.overlap(LEFT, LEFT) == 1 and where.overlap(LEFT, RIGHT) == 0
    assert where.overlap((0, 0, 1, 1), (0, 0, 0.5, 1)) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="the boxes of subjects 1 and 3 cover each other"):
        where.check([LEFT, RIGHT, (0.0, 0.3, 0.5, 1.0)])


@pytest.mark.parametrize("aspect", [0.5, 1.0, 16 / 9, 3.0])
def test_boxes_at_random_keep_the_rules_of_the_data_and_repeat_with_their_seed(aspect):
    generator = torch.Generator().manual_seed(3)
    boxes = [where.anywhere(generator, aspect) for _ in range(500)]
    for left, top, right, bottom in boxes:
        where.check([(left, top, right, bottom)])
        area, side = (right - left) * (bottom - top), (right - left) / (bottom - top) * aspect
        assert 0.05 - 1e-6 < area < 0.7 + 1e-6 and 0.3 - 1e-6 < side < 3 + 1e-6
    assert boxes[0] == where.anywhere(torch.Generator().manual_seed(3), aspect) != boxes[1]
    assert len({round(box[0], 2) for box in boxes}) > 30, "they do not all stand in one place"
