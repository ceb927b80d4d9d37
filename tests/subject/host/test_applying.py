"""A subject cut out of its picture and encoded, and pictures and masks that cannot be one."""

from types import SimpleNamespace

import pytest
import torch
from same_subject.nodes.subject.host import applying

WIDTH, HEIGHT = 12, 8
PLACE = (0.0, 0.0, 1.0, 1.0)


def picture(channels=3):
    made = torch.rand(1, HEIGHT, WIDTH, channels, generator=torch.Generator().manual_seed(1)) * 0.5
    if channels == 4:
        made[..., 3] = mask()
    return made


def mask(hole=False):
    """White on 4 x 6 pixels, with or without a hole in them."""
    made = torch.zeros(1, HEIGHT, WIDTH)
    made[:, 1:7, 2:6] = 1
    if hole:
        made[:, 3, 4] = 0
    return made


def encode(image=None, given=None, name="dog", place=PLACE):
    seen = []

    def look(shown):
        seen.append(shown)
        return torch.zeros(5), torch.zeros(4, 3)

    subject, shown = applying.encode(SimpleNamespace(encode=look), picture() if image is None else image, given, name, place)
    assert torch.equal(seen[0], shown)
    return subject, shown


def test_a_subject_is_cut_out_on_white_and_padded_to_a_square_with_its_holes_filled():
    subject, shown = encode(given=mask(hole=True))
    assert shown.shape == (6, 6, 3) and subject.name == "dog" and subject.place == PLACE
    assert torch.equal(shown[:, 1:5], picture()[0, 1:7, 2:6]), "the hole, too"
    assert bool(shown[:, [0, 5]].eq(1).all())


def test_without_a_place_it_stands_where_its_mask_is():
    assert encode(given=mask(), place=None)[0].place == pytest.approx((2 / 12, 1 / 8, 6 / 12, 7 / 8))


@pytest.mark.parametrize("given", [None, torch.ones(1, HEIGHT, WIDTH), torch.ones(1, 64, 64), torch.ones(64, 64)])
def test_without_a_mask_or_with_one_that_is_white_everywhere_the_whole_picture_counts(given):
    """Load Image gives a mask of 64 x 64 for a picture that has no transparency."""
    _, shown = encode(given=given)
    assert shown.shape == (12, 12, 3) and torch.equal(shown[2:10], picture()[0])


def test_a_picture_that_is_transparent_around_it_is_its_own_mask():
    _, shown = encode(picture(4))
    assert torch.equal(shown, encode(picture(4)[..., :3], mask())[1]) and shown.shape == (6, 6, 3)


WRONG = {
    "its mask is empty, but needs to be white on the subject": {"given": torch.zeros(1, HEIGHT, WIDTH)},
    "its mask is empty, but": {"given": torch.zeros(1, 64, 64)},
    "`mask` has the shape 1 x 12 x 8 .* but `image` has 1 x 8 x 12. Connect the mask": {"given": mask().mT},
    "`mask` has the shape 2 x 8 x 12": {"given": mask().expand(2, -1, -1)},
    "`mask` holds NaN": {"given": mask() * float("nan")},
    "`image` holds NaN": {"image": picture() * float("nan")},
    "`image` holds 2 pictures, but needs one": {"image": picture().expand(2, -1, -1, -1)},
    "`class_name` is empty, but needs a word": {"name": " "},
}


@pytest.mark.parametrize("message", WRONG)
def test_what_is_no_picture_of_one_subject_is_refused_at_the_node(message):
    with pytest.raises(ValueError, match=f"^Subject: {message}"):
        encode(**WRONG[message])
