"""Fitting, blanking and gathering reference pictures."""

import pytest
import torch
from same_subject.nodes.joint.references import Reference, gather

WIDE = torch.linspace(0, 1, 40)[None, :, None].expand(20, 40, 3)
"""A ramp from left to right, twice as wide as high."""


def fitted(fit, width=20, height=20):
    return Reference(WIDE, "", fit, 1.0).fitted(width, height)


def test_crop_keeps_the_aspect_and_cuts_the_edges():
    picture = fitted("crop")
    assert picture.shape == (20, 20, 3)
    assert torch.allclose(picture, WIDE[:, 10:30])


def test_pad_keeps_the_aspect_and_fills_with_background():
    picture = fitted("pad")
    assert picture.shape == (20, 20, 3)
    assert (picture[:5] == 1).all() and (picture[-5:] == 1).all()
    assert picture[10, 0, 0] < 0.1 and picture[10, -1, 0] > 0.9


def test_stretch_shows_everything_at_the_new_aspect():
    picture = fitted("stretch")
    assert picture.shape == (20, 20, 3)
    assert picture[10, 0, 0] < 0.1 and picture[10, -1, 0] > 0.9


@pytest.mark.parametrize("fit", ("crop", "pad", "stretch"))
@pytest.mark.parametrize("size", ((8, 64), (333, 7), (64, 64), (1, 1)))
def test_any_picture_gets_any_size_and_stays_in_range(fit, size):
    for own in ((1, 300), (13, 7), (64, 64)):
        picture = torch.rand(*own, 3, generator=torch.Generator().manual_seed(0))
        result = Reference(picture, "", fit, 0.5).fitted(*size)
        assert result.shape == (size[1], size[0], 3)
        assert 0 <= result.min() and result.max() <= 1


def test_a_picture_of_the_right_size_is_not_touched():
    picture = torch.rand(16, 16, 3)
    for fit in ("crop", "pad", "stretch"):
        assert torch.equal(Reference(picture, "", fit, 0.5).fitted(16, 16), picture)


def test_alpha_and_masks_blank_the_background():
    mask = torch.zeros(32, 32)
    mask[8:24, 8:24] = 1
    picture = torch.rand(32, 32, 3)
    with_alpha = torch.cat((picture, mask[..., None]), -1)
    by_mask, by_alpha = gather([picture], [mask], [""], "crop", "white")[0], gather([with_alpha], [], [""], "crop", "white")[0]
    assert torch.equal(by_mask.picture, by_alpha.picture)
    assert torch.equal(by_mask.picture[8:24, 8:24], picture[8:24, 8:24]) and (by_mask.picture[:8] == 1).all()


def test_one_mask_serves_all_pictures():
    mask = torch.zeros(4, 4)
    mask[:, 2:] = 1
    for reference in gather([torch.ones(8, 8, 3)] * 3, [mask], ["a", "b", "c"], "crop", "black"):
        assert reference.picture[:, -1].min() == 1 and reference.picture[:, 0].max() == 0


def test_gathering_does_not_change_the_pictures_given():
    picture, mask = torch.rand(8, 8, 3), torch.eye(8)
    before = picture.clone()
    gather([picture], [mask], [""], "crop", "grey")
    assert torch.equal(picture, before)
