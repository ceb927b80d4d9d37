"""Masks become blend weights that sum to one."""

import pytest
import torch
from same_subject.nodes.concepts import masks, places
from same_subject.nodes.concepts.boxes import Box
from same_subject.tests.tiny.sets import gap

NAMES = ("a cat", "a dog")
ROUNDING = 2e-5
"""As a share of the spread, or of the one that a sum must be: 1.8e-6 was seen."""
VISIBLE = 100 * ROUNDING


def corners(*boxes):
    return torch.tensor([box.corners for box in boxes])


@pytest.mark.parametrize("count", (1, 2, 8))
@pytest.mark.parametrize("size", ((64, 48), (61, 47), (7, 5)))
@pytest.mark.parametrize("feather", (0.0, 0.7, 3.0))
def test_weights_and_background_sum_to_one_and_are_never_negative(count, size, feather):
    generator = torch.Generator().manual_seed(count)
    raw = (torch.rand(count, *size, generator=generator) > 1 - 0.5 / count).float()
    own = masks.disjoint(raw, torch.rand(count, 1, 1, generator=generator))
    blend_weights, background = masks.blend_weights(own, 9, 6, feather)
    assert (blend_weights.sum(0) + background[0] - 1).abs().max() < ROUNDING
    assert blend_weights.min() >= 0 and background.min() >= 0
    assert background.max() - background.min() > VISIBLE


def test_area_average_equals_the_mean_of_the_covered_area_and_keeps_the_mean_on_any_grid():
    mask = torch.rand(2, 32, 48, generator=torch.Generator().manual_seed(0))
    plain = mask.unflatten(1, (4, 8)).unflatten(3, (6, 8)).mean(dim=(2, 4))
    average = masks.area_average(mask, 4, 6)
    assert gap(average, plain) < ROUNDING
    assert gap(average, mask[:, ::8, ::8]) > VISIBLE
    for grid in ((5, 7), (31, 47), (40, 60)):
        kept = masks.area_average(mask, *grid).mean(dim=(1, 2)) / mask.mean(dim=(1, 2))
        assert (kept - 1).abs().max() < ROUNDING  # torch's own `area` moves a mean by 2e-3 on each of these grids


def test_blur_is_linear_and_keeps_a_flat_mask_flat():
    a, b = torch.rand(2, 1, 9, 9, generator=torch.Generator().manual_seed(0))
    assert gap(masks.blur(0.3 * a + b, 1.0), 0.3 * masks.blur(a, 1.0) + masks.blur(b, 1.0)) < ROUNDING
    assert (masks.blur(torch.ones(1, 4, 4), 5.0) - 1).abs().max() < ROUNDING  # edges padded with zeros: 0.9
    assert gap(masks.blur(a, 1.0), a) > VISIBLE
    assert torch.equal(masks.blur(a, 0), a)


def test_the_better_score_keeps_the_pixels_that_two_concepts_share():
    raw = masks.from_boxes(corners(Box(0, 0, 6, 4), Box(4, 0, 10, 4)), 4, 10)
    for scores, shared in (((0.9, 0.5), 0), ((0.5, 0.9), 1), ((0.5, 0.5), 0)):
        boxes = tuple(Box(0, 0, 1, 1, score) for score in scores)
        own = places.place(raw, boxes, NAMES, places.Finish(0, masks.BY_SCORE), "Concept Masks: in picture 1")
        assert own.sum(0).max() == 1 and torch.equal(own.sum(0), raw.amax(0))
        assert own[shared, :, 4:6].min() == 1 and own[1 - shared, :, 4:6].max() == 0


def test_the_nearest_box_keeps_the_pixels_that_two_concepts_share():
    boxes = (Box(0, 0, 8, 4, 0.1), Box(4, 0, 12, 4, 0.9))
    own = places.place(
        masks.from_boxes(corners(*boxes), 4, 12), boxes, NAMES, places.Finish(0, masks.NEAREST_BOX), "Concept Masks: in picture 1"
    )
    assert own[0, 0].tolist() == [1.0] * 6 + [0.0] * 6 and own[1, 0].tolist() == [0.0] * 6 + [1.0] * 6


def test_soft_masks_share_what_is_left_of_one():
    own = masks.disjoint(torch.tensor([0.7, 0.6, 0.5]).view(3, 1, 1), torch.tensor([1.0, 0.0, 2.0]).view(3, 1, 1))
    assert gap(own.flatten(), torch.tensor([0.4, 0.6, 0.0])) < ROUNDING  # in the order of the list: 0.9


def test_growing_and_shrinking_move_every_edge_by_so_many_pixels():
    box = Box(4, 5, 9, 8)
    mask = masks.from_boxes(corners(box), 12, 14)
    assert mask.sum() == box.area
    assert torch.equal(masks.grow(mask, 2), masks.from_boxes(corners(Box(2, 3, 11, 10)), 12, 14))
    assert torch.equal(masks.grow(mask, -1), masks.from_boxes(corners(Box(5, 6, 8, 7)), 12, 14))
    assert torch.equal(masks.grow(mask, 0), mask)


def test_masks_that_overlap_entirely_are_refused_with_both_names():
    boxes = (Box(0, 0, 8, 8, 0.9), Box(2, 2, 6, 6, 0.5))
    raw = masks.from_boxes(corners(*boxes), 8, 8)
    with pytest.raises(ValueError, match="in picture 3 the mask of `a dog` lies almost wholly inside that of `a cat`"):
        places.place(raw, boxes, NAMES, places.Finish(0, masks.BY_SCORE), "Concept Masks: in picture 3")


def test_a_mask_that_is_black_is_refused_but_an_empty_concept_is_not():
    raw = torch.zeros(2, 8, 8)
    raw[0, :4] = 1
    with pytest.raises(ValueError, match="the mask of `a dog` is black everywhere"):
        places.place(
            raw, (Box(0, 0, 8, 4), Box(0, 4, 8, 8)), NAMES, places.Finish(0, masks.BY_SCORE), "Concept Masks: in picture 1"
        )
    for overlaps in masks.SHARE_OUTS:
        own = places.place(raw, (Box(0, 0, 8, 4), None), NAMES, places.Finish(0, overlaps), "Concept Masks: in picture 1")
        assert torch.equal(own, raw)


def test_a_scene_gives_weights_on_any_latent_grid():
    raw = masks.from_boxes(corners(Box(0, 0, 8, 16), Box(8, 0, 16, 16)), 16, 32)
    both = places.Concepts(NAMES, ((None, None),) * 2, torch.stack([raw, raw.flip(-1)]), 0.5)
    for grid in ((2, 4), (3, 5), (16, 32)):
        blend_weights, background = both.blend_weights(*grid)
        assert blend_weights.shape == (2, 2, *grid) and background.shape == (2, 1, *grid)
        assert (blend_weights.sum(1, keepdim=True) + background - 1).abs().max() < ROUNDING
        assert gap(blend_weights[0], blend_weights[1].flip(-1)) < ROUNDING
        assert gap(blend_weights[0], blend_weights[1]) > VISIBLE


def test_the_box_of_a_mask_is_the_smallest_around_its_white():
    mask = masks.from_boxes(corners(Box(3, 2, 7, 9)), 12, 12)[0]
    assert places.box_of(mask).corners == (3, 2, 7, 9)
    assert places.box_of(torch.zeros(4, 4)).area == 0
