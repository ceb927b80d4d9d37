"""Sizes of one area, and pictures cut to them with their aspect kept."""

import random

import pytest
from PIL import Image
from same_subject.nodes.data import buckets


def test_sizes_have_at_most_the_area_and_no_wider_one_fits():
    found = buckets.sizes(512)
    assert (512, 512) in found and (640, 384) in found and (384, 640) in found and (704, 320) not in found
    for width, height in found:
        assert width % 64 == height % 64 == 0 and width * height <= 512 * 512 and max(width, height) <= 2 * min(width, height)
        assert {(width, height), (height, width)} <= set(found)
    assert buckets.sizes(1024, longest=1) == [(1024, 1024)]
    for wrong in ((500, 64, 2.0), (512, 64, 0.5), (0, 64, 2.0)):
        with pytest.raises(ValueError, match="multiple of the step"):
            buckets.sizes(*wrong)


def test_a_set_goes_where_its_pictures_are_cut_least():
    among = buckets.sizes(512)
    assert buckets.nearest([(100, 100)], among) == (512, 512)
    assert buckets.nearest([(1056, 528)], among)[0] > 600
    assert buckets.nearest([(200, 100), (100, 200)], among) == (512, 512)


def halves(width, height):
    """Black left of the middle, white right of it."""
    picture = Image.new("RGB", (width, height))
    picture.paste("white", (width // 2, 0, width, height))
    return picture


@pytest.mark.parametrize("own", [(300, 100), (100, 300), (60, 20), (64, 64), (33, 47)])
def test_a_picture_is_cut_in_the_middle_and_not_distorted(own):
    cut = buckets.cut(halves(*own), (64, 64))
    assert cut.picture.size == (64, 64) and cut.own == own
    row = [cut.picture.getpixel((x, 32))[0] for x in (5, 28, 36, 58)]
    assert row[0] < 30 and row[1] < 60 and row[2] > 195 and row[3] > 225
    side = min(own)
    assert cut.corner == tuple(round((length - side) / 2 * 64 / side) for length in own)


def test_a_picture_of_that_size_stays_as_it_is():
    picture = halves(64, 64)
    assert buckets.cut(picture, (64, 64)).picture is picture


def test_a_drawn_cut_stays_inside_and_moves():
    corners = {buckets.cut(halves(200, 100), (64, 64), random.Random(seed)).corner for seed in range(20)}
    assert len(corners) > 10 and all(0 <= left <= 64 and top == 0 for left, top in corners)
