"""Finding the demo's toys: connected parts of a mask, their boxes, the squares in which they are recognised."""

import torch
from same_subject.nodes.concepts.places import box_of
from same_subject.nodes.demo import toys


def test_blobs_are_the_connected_parts_of_a_mask_without_the_tiny_ones():
    mask = torch.zeros(32, 48, dtype=torch.bool)
    ring = torch.zeros_like(mask)
    ring[2:20, 2:20], ring[6:16, 6:16] = True, False
    bar = torch.zeros_like(mask)
    bar[10:30, 30:34] = True
    speck = torch.zeros_like(mask)
    speck[28:30, 5:9] = True
    found = toys.blobs(mask | ring | bar | speck)
    assert len(found) == 2 and {box_of(one).corners for one in found} == {(2, 2, 20, 20), (30, 10, 34, 30)}
    assert sum(torch.equal(one, ring) or torch.equal(one, bar) for one in found) == 2
    assert toys.blobs(torch.zeros(8, 8, dtype=torch.bool)) == []


def test_a_square_around_a_box_is_padded_where_it_leaves_the_picture():
    picture = torch.rand(1, 3, 64, 128, generator=torch.Generator().manual_seed(0))
    assert torch.equal(toys.around(picture, torch.tensor([54.0, 22.0, 74.0, 42.0])), picture[..., 32:96])
    corner = toys.around(picture, torch.tensor([0.0, 0.0, 20.0, 20.0]))
    assert torch.equal(corner[..., 22:, 22:], picture[..., :42, :42]) and (corner[..., :22, :] == 0.5).all()
    assert (toys.around(torch.ones(1, 1, 64, 64), torch.tensor([0.0, 0.0, 20.0, 20.0]))[..., :22] == 0).all()
